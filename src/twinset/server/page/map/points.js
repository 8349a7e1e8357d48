// A scatter plot of many points that can be moved, zoomed, pointed at and lassoed; by mouse, fingers and keys.
import { onCanvas } from "./draw_canvas.js";
import { onWebgl } from "./draw_webgl.js";
import { Grid } from "./grid.js";

const FARTHEST = 0.5;
const NEAREST = 20; // of a few points; of many one may come nearer
const REACH = 10; // pixels from a point within which it is meant
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Points {
  /**
   * @param {HTMLElement} host filled by the plot
   * @param {{draw?: string | null, onView?: (view: {x: number, y: number, zoom: number}) => void,
   *          onPoint?: (row: number) => void, onTap?: (row: number) => void,
   *          onLasso?: (rows: number[]) => void, over?: (paint, plot) => void}} given
   *   `draw` is "canvas", "webgl2", or what is faster here; `over` draws above the points, in CSS pixels.
   */
  constructor(host, given = {}) {
    Object.assign(this, { host, given, view: { x: 0, y: 0, zoom: 1 }, lassoing: false, line: null });
    this.from = this.xy = new Float32Array();
    this.rgba = new Uint8Array();
    this.grid = new Grid(this.xy);
    this.moved = 1;
    this.pointers = new Map();
    this.top = document.createElement("canvas"); // above the points: images, marks, the lasso
    this.top.className = "map-top";
    this.#begin(given.draw);
    host.append(this.top);
    this.watch = new ResizeObserver(() => this.#resize());
    this.watch.observe(host);
    this.stop = new AbortController();
    const on = (name, act, options) => host.addEventListener(name, act, { signal: this.stop.signal, ...options });
    on("wheel", (event) => this.#wheel(event), { passive: false });
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#up(event));
    on("pointerleave", () => this.given.onPoint?.(-1));
    on("dblclick", (event) => this.zoomBy(2, ...this.#at(event)));
    on("keydown", (event) => this.#key(event));
    this.#resize();
  }

  #begin(draw) {
    this.canvas?.remove();
    this.canvas = document.createElement("canvas");
    const lost = () => {
      // a driver that was reset: the rest of the visit goes without it
      if (this.stop.signal.aborted) return;
      this.#begin("canvas");
      this.#resize();
    };
    this.renderer = (draw !== "canvas" && onWebgl(this.canvas, lost, draw === "webgl2")) || null;
    if (!this.renderer) {
      // one that has given a WebGL context, if a broken one, gives no other
      this.canvas = document.createElement("canvas");
      this.renderer = onCanvas(this.canvas);
    }
    this.canvas.dataset.kind = this.renderer.kind;
    this.canvas.setAttribute("aria-hidden", "true");
    this.host.prepend(this.canvas);
    this.renderer.points(this.from, this.xy);
    this.renderer.colours(this.rgba);
  }

  close() {
    this.stop.abort();
    this.watch.disconnect();
    cancelAnimationFrame(this.frame);
    this.renderer.free();
    this.host.replaceChildren();
  }

  /** Show points; those that were there before glide to their new places. */
  points(xy) {
    const glide = xy.length === this.xy.length && xy.length && this.renderer.kind === "webgl2" && !still.matches;
    this.from = glide ? this.xy : xy;
    this.xy = xy;
    this.grid = new Grid(xy);
    this.renderer.points(this.from, xy);
    this.since = performance.now();
    this.moved = glide ? 0 : 1;
    if (this.rgba.length !== 2 * xy.length) this.colours(new Uint8Array(2 * xy.length).fill(128));
    this.draw();
  }

  /** Colour the points: red, green, blue, alpha of each; alpha 0 hides it. */
  colours(rgba) {
    this.rgba = rgba;
    this.renderer.colours(rgba);
    this.draw();
  }

  /** As near as one may come: beyond that there are single points with nothing around them. */
  get nearest() {
    const n = this.xy.length / 2;
    return n ? Math.max(NEAREST, Math.sqrt(n) / 2) : Infinity;
  }
  shown = (row) => this.rgba[4 * row + 3] > 0;
  /** Pixels for a distance of 1 on the map. */
  get scale() {
    return 0.46 * Math.min(this.wide, this.tall) * this.view.zoom;
  }
  /** Where a place of the map is, in pixels. */
  screen = (x, y) => [this.wide / 2 + (x - this.view.x) * this.scale, this.tall / 2 - (y - this.view.y) * this.scale];
  place = (left, top) => [this.view.x + (left - this.wide / 2) / this.scale, this.view.y - (top - this.tall / 2) / this.scale];
  /** Points in sight, at most so many and one more. */
  inSight(most) {
    const [left, low] = this.place(0, this.tall);
    const found = [];
    for (const row of this.grid.in(left, low, ...this.place(this.wide, 0))) {
      if (this.shown(row) && found.push(row) > most) break;
    }
    return found;
  }
  at = (left, top) => this.grid.near(...this.place(left, top), REACH / this.scale, this.shown);

  /** Look at another part; it is told, unless who changes it knows. */
  look(view, tell = true) {
    const zoom = Math.min(this.nearest, Math.max(FARTHEST, view.zoom));
    const [x, y] = [view.x, view.y].map((one) => Math.min(1.5, Math.max(-1.5, one)));
    this.view = { x, y, zoom };
    if (tell) this.given.onView?.(this.view);
    this.draw();
  }

  /** Come nearer, about a place that stays where it is on the screen. */
  zoomBy(factor, left = this.wide / 2, top = this.tall / 2) {
    const [x, y] = this.place(left, top);
    const zoom = Math.min(this.nearest, Math.max(FARTHEST, this.view.zoom * factor));
    const rest = this.view.zoom / zoom;
    this.look({ x: x + (this.view.x - x) * rest, y: y + (this.view.y - y) * rest, zoom });
  }

  /** Show all of some points. */
  fit(rows) {
    const [xs, ys] = [0, 1].map((c) => rows.map((row) => this.xy[2 * row + c]).sort((a, b) => a - b));
    // the outermost twentieth on each side may be anywhere
    const edges = (all) => [0.05, 0.95].map((share) => all[Math.round(share * (all.length - 1))]);
    const [[left, right], [low, high]] = [edges(xs), edges(ys)];
    const zoom = Math.min(60, 1.5 / Math.max(right - left, high - low, 1e-3));
    this.look({ x: (left + right) / 2, y: (low + high) / 2, zoom });
  }

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (this.moved < 1) this.moved = Math.min(1, (performance.now() - this.since) / 700);
      const ratio = this.ratio;
      // larger as one comes nearer, and as there are fewer
      const size = Math.min(16, Math.max(2.2, (3 + 0.6 * Math.log2(20000 / (1 + this.xy.length / 2))) * this.view.zoom ** 0.35));
      const moved = this.moved ** 2 * (3 - 2 * this.moved);
      this.size = size;
      this.renderer.draw({ ...this.view, scale: this.scale * ratio, size: size * ratio, moved });
      this.#drawTop();
      if (this.moved < 1) this.draw();
    });
  }

  #drawTop() {
    const paint = this.top.getContext("2d");
    paint.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    paint.clearRect(0, 0, this.wide, this.tall);
    this.given.over?.(paint, this);
    if (!this.line) return;
    const ink = getComputedStyle(this.host);
    paint.beginPath();
    for (let k = 0; k < this.line.length; k += 2) paint.lineTo(this.line[k], this.line[k + 1]);
    paint.closePath();
    paint.fillStyle = paint.strokeStyle = ink.color;
    paint.globalAlpha = 0.12;
    paint.fill();
    paint.globalAlpha = 1;
    paint.lineWidth = 1.5;
    paint.stroke();
  }

  #resize() {
    const box = this.host.getBoundingClientRect();
    [this.wide, this.tall] = [Math.max(1, box.width), Math.max(1, box.height)];
    this.ratio = Math.min(2, devicePixelRatio || 1);
    for (const one of [this.canvas, this.top]) {
      one.width = Math.round(this.wide * this.ratio);
      one.height = Math.round(this.tall * this.ratio);
    }
    this.draw();
  }

  #at(event) {
    const box = this.host.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoomBy(Math.exp(-0.002 * lines * event.deltaY * (event.ctrlKey ? 4 : 1)), ...this.#at(event));
  }

  #down(event) {
    if (event.button) return;
    this.host.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#at(event));
    this.far = 0; // how far it was dragged: a tap is not
    const alone = this.pointers.size === 1;
    this.line = alone && (this.lassoing || event.shiftKey) ? [...this.#at(event)] : null;
  }

  #move(event) {
    const now = this.#at(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return event.pointerType === "mouse" && this.given.onPoint?.(this.at(...now));
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    this.pointers.set(event.pointerId, now);
    this.far += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (this.line) {
      this.line.push(...now);
      return this.draw();
    }
    const shift = [now[0] - before[0], now[1] - before[1]].map((one) => one / this.scale / (1 + others.length));
    this.look({ ...this.view, x: this.view.x - shift[0], y: this.view.y + shift[1] });
    if (others.length) {
      const [[x, y]] = others;
      const length = (at) => Math.max(1, Math.hypot(at[0] - x, at[1] - y));
      this.zoomBy(length(now) / length(before), (x + now[0]) / 2, (y + now[1]) / 2);
    }
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { line } = this;
    this.line = null;
    if (line && event.type === "pointerup" && line.length > 6) {
      const places = [];
      for (let k = 0; k < line.length; k += 2) places.push(...this.place(line[k], line[k + 1]));
      this.given.onLasso?.(this.grid.within(places, this.shown));
    } else if (this.far < 5 && event.type === "pointerup") this.given.onTap?.(this.at(...this.#at(event)));
    this.draw();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 60 / this.scale;
    const { x, y } = this.view;
    const act = {
      "+": () => this.zoomBy(1.5),
      "=": () => this.zoomBy(1.5),
      "-": () => this.zoomBy(1 / 1.5),
      0: () => this.look({ x: 0, y: 0, zoom: 1 }),
      ArrowLeft: () => this.look({ ...this.view, x: x - step }),
      ArrowRight: () => this.look({ ...this.view, x: x + step }),
      ArrowUp: () => this.look({ ...this.view, y: y + step }),
      ArrowDown: () => this.look({ ...this.view, y: y - step }),
      Escape: () => ((this.line = null), this.draw()),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}
