// The scale of distances: the hills of same and different, the threshold as a cut, and where a pair lies.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { far, t } from "../language.js";

/** The width of an element in pixels, as it changes: text in a drawing then keeps its size. */
export function useWidth() {
  const self = useRef();
  const [width, set] = useState(640);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => set(Math.max(240, entry.contentRect.width)));
    watch.observe(self.current);
    return () => watch.disconnect();
  }, []);
  return [self, width];
}

/** Round numbers for an axis. */
export function ticks(low, high, most = 6) {
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((one) => one >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

/** The value of a curve at a place between its points. */
export function at(xs, ys, x) {
  if (x <= xs[0]) return ys[0];
  let high = xs.findIndex((one) => one >= x);
  if (high < 0) return ys[xs.length - 1];
  const share = (x - xs[high - 1]) / (xs[high] - xs[high - 1] || 1);
  return ys[high - 1] + share * (ys[high] - ys[high - 1]);
}

/**
 * @param {{curves?: {distance: number[], same: number[], different: number[]}, threshold: number,
 *          distance?: number, kind?: string, tall?: number, errors?: boolean, label: string, end?: number}} given
 *   `errors` shades what the threshold gets wrong; `inset` leaves room for the grip of a slider below.
 */
export function Scale({ curves, threshold, distance, kind, tall = 120, errors, label, inset = 9, end }) {
  const [self, width] = useWidth();
  const high = end ?? Math.max(curves?.distance.at(-1) ?? 0, threshold * 1.6, (distance ?? 0) * 1.05, 1e-9);
  const x = (d) => inset + (d / high) * (width - 2 * inset);
  const top = 26;
  const hump = Math.min(tall, width * 0.45); // low on a phone, so that what it costs is in sight
  const base = top + (curves ? hump : 14);
  const peak = curves ? Math.max(...curves.same, ...curves.different) : 1;
  const y = (density) => base - (density / peak) * hump;
  // a hill from `from` to `to`, closed at the foot
  const hill = (which, from = 0, to = high) => {
    const { distance: xs, [which]: ys } = curves;
    const inner = xs.map((d, k) => [d, ys[k]]).filter(([d]) => d > from && d < to);
    const points = [[from, at(xs, ys, from)], ...inner, [to, at(xs, ys, to)]];
    return `M${x(from)} ${base}${points.map(([d, v]) => `L${x(d).toFixed(1)} ${y(v).toFixed(1)}`).join("")}L${x(to)} ${base}Z`;
  };
  const crest = (which) => {
    const k = curves[which].indexOf(Math.max(...curves[which]));
    return Math.min(width - 40, Math.max(40, x(curves.distance[k])));
  };
  // beside each other where the crests are near: no name covers the other
  const names = () => {
    const [first, second] = ["same", "different"].sort((a, b) => crest(a) - crest(b));
    const room = 80;
    const right = Math.min(width - 40, Math.max(crest(second), (crest(first) + crest(second) + room) / 2, 40 + room));
    return [[first, Math.min(crest(first), right - room)], [second, right]];
  };
  const cutEdge = x(threshold) > width / 2 ? "end" : "start";
  const hereEdge = distance !== undefined && x(distance) > width - 60 ? "end" : distance !== undefined && x(distance) < 60 ? "start" : "middle";
  return html`<div ref=${self}>
    <svg class="scale" viewBox=${`0 0 ${width} ${base + (distance === undefined ? 24 : 52)}`} role="img" aria-label=${label}>
      ${curves && ["different", "same"].map((which) => html`<path class=${`hill ${which}`} d=${hill(which)} />`)}
      ${curves && errors && html`<path class="error different" d=${hill("different", 0, threshold)} /><path class="error same" d=${hill("same", threshold, high)} />`}
      <line class="axis" x1=${x(0)} x2=${x(high)} y1=${base} y2=${base} />
      ${ticks(0, high, Math.floor(width / 90)).filter((d) => distance === undefined || Math.abs(x(d) - x(distance)) > 24).map((d) => html`<g><line class="axis" x1=${x(d)} x2=${x(d)} y1=${base} y2=${base + 5} /><text x=${x(d)} y=${base + 18} text-anchor="middle">${far(d).replace(/0{1,2}$/, "")}</text></g>`)}
      <line class="cut" x1=${x(threshold)} x2=${x(threshold)} y1=${top - 8} y2=${base + 5} />
      <text class="cut-text" x=${x(threshold) + (cutEdge === "end" ? -7 : 7)} y=${top - 6} text-anchor=${cutEdge}>${t("scale.threshold", { at: far(threshold) })}</text>
      ${curves && names().map(([which, middle]) => html`<text class=${`name ${which}`} x=${middle} y=${base - 8} text-anchor="middle">${t(`scale.${which}`)}</text>`)}
      ${distance !== undefined && html`<path class=${`here ${kind}`} d=${`M${x(distance)} ${base + 1}l7 12h-14z`} />
        <line class="cut" x1=${x(distance)} x2=${x(distance)} y1=${base - (curves ? hump * 0.25 : 10)} y2=${base} />
        <text class="cut-text" x=${x(distance)} y=${base + 32} text-anchor=${hereEdge}>${t("scale.here", { at: far(distance) })}</text>`}
    </svg>
  </div>`;
}
