// The map itself: the plot with its tools, the card of the point under the mouse, images, marks.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { call, item, thumbnail } from "../api.js";
import { t, told } from "../language.js";
import { Icon } from "../parts/marks.js";
import { crisp, taken } from "../parts/pictures.js";
import { named } from "../parts/tile.js";
import { Points } from "./points.js";
import { Thumbs, drawThumb, spaced } from "./thumbs.js";

const NEAR = 250; // so few points in sight are shown as images
const LINES = 400;

/** What is drawn above the points. */
function over(paint, plot, { ids, thumbs, everywhere, pairs, mark, focus }) {
  const ink = getComputedStyle(plot.host).color;
  const at = (row) => plot.screen(plot.xy[2 * row], plot.xy[2 * row + 1]);
  const ring = ([x, y], radius, width = 2) => {
    paint.beginPath();
    paint.arc(x, y, radius, 0, 2 * Math.PI);
    paint.lineWidth = width;
    paint.strokeStyle = ink;
    paint.stroke();
  };
  const line = (from, to) => {
    paint.beginPath();
    paint.moveTo(...from);
    paint.lineTo(...to);
    paint.strokeStyle = ink;
    paint.lineWidth = 1;
    paint.stroke();
  };
  paint.globalAlpha = 0.45;
  for (const [row, other] of pairs.slice(0, LINES)) line(at(row), at(other));
  paint.globalAlpha = 1;
  if (ids) {
    const most = everywhere ? 100000 : NEAR;
    const rows = plot.inSight(most);
    const shown = rows.length <= most || everywhere ? spaced(plot, rows) : [];
    thumbs.want(shown.map((row) => ids[row]));
    for (const row of shown) {
      const image = thumbs.get(ids[row]);
      if (image) drawThumb(paint, plot, row, image);
    }
  }
  if (mark) {
    const here = plot.screen(...mark.at);
    paint.globalAlpha = 0.7;
    for (const row of mark.rows) line(here, at(row));
    paint.globalAlpha = 1;
    for (const row of mark.rows) ring(at(row), 5);
    if (mark.image?.naturalWidth) {
      const part = 60 / Math.max(mark.image.naturalWidth, mark.image.naturalHeight);
      const [wide, tall] = [mark.image.naturalWidth * part, mark.image.naturalHeight * part];
      paint.fillStyle = ink;
      paint.fillRect(here[0] - wide / 2 - 3, here[1] - tall / 2 - 3, wide + 6, tall + 6);
      paint.drawImage(mark.image, here[0] - wide / 2, here[1] - tall / 2, wide, tall);
    } else ring(here, 12, 3);
  }
  if (focus >= 0) ring(at(focus), Math.max(6, plot.size / 2 + 3));
}

/** The card of the point under the mouse. */
function Card({ row, id, kind, place }) {
  const [known, setKnown] = useState();
  useEffect(() => {
    setKnown();
    const stop = new AbortController();
    const later = setTimeout(() => call(item(id), { signal: stop.signal }).then(setKnown, () => {}), 140);
    return () => (clearTimeout(later), stop.abort());
  }, [id]);
  const facts = Object.entries(known?.metadata ?? {}).filter(([, value]) => value !== null && value !== "").slice(0, 5);
  return html`<div class=${`map-card ${place.right ? "right" : "left"}`} style=${{ left: `${place.x}px`, top: `${place.y}px` }} aria-hidden="true" key=${row}>
    ${known?.picture === false ? null : known ? html`<img src=${thumbnail(id, 160)} alt="" onLoad=${crisp} />` : html`<span class="map-card-image"></span>`}
    <div><strong>${named(id)}</strong>${(facts.length ? facts : kind ? [["", kind]] : []).map(([name, value]) => html`<span title=${name}>${told(value)}</span>`)}</div>
  </div>`;
}

/**
 * @param {{xy: Float32Array, rgba: Uint8Array, ids?: string[], kindOf: (row: number) => string, start: object,
 *          pairs: number[][], mark?: object, draw: string | null, onView: Function, onOpen: Function, onLasso: Function,
 *          onGive: Function, plotRef: object, children: any}} given
 */
export function Stage({ xy, rgba, ids, kindOf, start, pairs, mark, draw, onView, onOpen, onLasso, onGive, plotRef, children }) {
  const host = useRef();
  const now = useRef({});
  const [hover, setHover] = useState(-1);
  const [lasso, setLasso] = useState(false);
  const [everywhere, setEverywhere] = useState(false);
  const [hung, setHung] = useState(false);
  now.current = { ...now.current, ids, pairs, mark, everywhere, focus: hover, onView, onOpen, onLasso };

  // told at once: whoever begins to draw before the next frame draws a lasso, too
  const hold = (on) => ((plotRef.current.lassoing = on), setLasso(on));
  useEffect(() => {
    const plot = new Points(host.current, {
      draw,
      onView: (view) => now.current.onView(view),
      onPoint: setHover,
      onTap: (row) => row >= 0 && now.current.onOpen(row),
      onLasso: (rows) => (hold(false), now.current.onLasso(rows)),
      over: (paint) => over(paint, plot, now.current),
    });
    now.current.thumbs = new Thumbs(() => plot.draw());
    plotRef.current = plot;
    plot.look(start, false);
    return () => ((plotRef.current = undefined), plot.close());
  }, []);
  useEffect(() => xy && plotRef.current.points(xy), [xy]);
  useEffect(() => {
    if (!rgba) return;
    plotRef.current.colours(rgba);
    // what a test, or a person with a stop watch, waits for: colours are there and it can be moved
    host.current.dataset.ready = plotRef.current.renderer.kind;
  }, [rgba]);
  useEffect(() => plotRef.current.draw());

  const plot = plotRef.current;
  const point = plot && hover >= 0 && plot.screen(plot.xy[2 * hover], plot.xy[2 * hover + 1]);
  const tool = (name, act, pressed) => html`<button class="button slim" type="button" aria-pressed=${pressed} aria-label=${t(`map.${name}`)} title=${t(`map.${name}`)} onClick=${act}><${Icon} name=${name} /></button>`;
  const dropped = (event) => {
    event.preventDefault();
    setHung(false);
    const pictures = taken(event.dataTransfer);
    if (pictures.length) onGive(pictures);
  };
  return html`<div class=${`map-frame ${hung ? "over" : ""}`} onDragOver=${(e) => (e.preventDefault(), setHung(true))} onDragLeave=${() => setHung(false)} onDrop=${dropped}>
    <div class=${`map-plot ${lasso ? "lassoing" : ""}`} ref=${host} tabindex="0" role="group" aria-label=${t("map.plot")} aria-describedby="map-keys"></div>
    <p class="unseen" id="map-keys">${t("map.keys")}</p>
    <p class="map-tap small">${t("map.tap")}</p>
    <div class="map-tools">
      ${tool("lasso", () => hold(!lasso), lasso)}
      ${tool("image", () => setEverywhere(!everywhere), everywhere)}
      ${tool("add", () => plot.zoomBy(1.7))}
      ${tool("minus", () => plot.zoomBy(1 / 1.7))}
      ${tool("whole", () => plot.look({ x: 0, y: 0, zoom: 1 }))}
    </div>
    ${point && ids && html`<${Card} row=${hover} id=${ids[hover]} kind=${kindOf(hover)} place=${{ x: point[0], y: Math.min(point[1], plot.tall - 170), right: point[0] > plot.wide / 2 }} />`}
    ${children}
  </div>`;
}
