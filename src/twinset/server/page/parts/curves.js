// What GET /threshold says, as curves that a scale draws and a slider reads.
import { at } from "./scale.js";

/** From bars to a hill: their middles, smoothed a little, and a curve through them that is drawn in quarters. */
function hills({ edges, same, different }) {
  const middles = same.map((_, k) => (edges[k] + edges[k + 1]) / 2);
  const xs = fine([edges[0], ...middles, edges.at(-1)], (a, b, c, d, u) => b + u * (c - b));
  const hill = (ys) => {
    const even = ys.map((y, k) => ((ys[k - 1] ?? y) + 2 * y + (ys[k + 1] ?? y)) / 4);
    const start = Math.max(0, 1.5 * even[0] - 0.5 * even[1]);
    return fine([start, ...even, 0], spline).map((y) => Math.max(0, y));
  };
  return { distance: xs, same: hill(same), different: hill(different) };
}

/** Catmull and Rom's curve between b and c. */
const spline = (a, b, c, d, u) => b + 0.5 * u * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)));

const fine = (ys, between) =>
  ys.slice(0, -1).flatMap((y, k) => [0, 0.25, 0.5, 0.75].map((u) => between(ys[k - 1] ?? y, y, ys[k + 1], ys[k + 2] ?? ys[k + 1], u))).concat(ys.at(-1));

/** The hills of same and different; undefined for a model that keeps none. */
export const hillsOf = (told) => (told?.densities ? hills(told.densities) : undefined);

/** All that a threshold costs: both rates with their intervals, and what is left in the collection. */
export function costs(told, threshold) {
  const { curve, index } = told;
  const of = (name) => (curve ? at(curve.distance, curve[name], threshold) : undefined);
  const rate = (name) => curve && { share: of(name), low: of(`${name}_low`), high: of(`${name}_high`) };
  // counts are steps: what is within a threshold is what was within the last one of the grid
  const step = (name) => (index?.[name]?.length ? index[name][Math.max(0, index.distance.findLastIndex((one) => one <= threshold))] : undefined);
  return { fmr: rate("fmr"), fnmr: rate("fnmr"), matches: step("matches"), groups: step("groups") };
}
