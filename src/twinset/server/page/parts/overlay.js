// Where two images agree and differ, drawn over one of them: a cell of the grid moves the distance so far.
import { html, useEffect, useRef } from "../vendor/preact.js";

/** @param {{explanation: {left: number[][], right: number[][], largest: number, step: number}, side: "left" | "right"}} given */
export function Overlay({ explanation, side }) {
  const canvas = useRef();
  useEffect(() => {
    const grid = explanation[side];
    const style = getComputedStyle(document.documentElement);
    const paint = canvas.current.getContext("2d");
    const [rows, columns] = [grid.length, grid[0].length];
    canvas.current.width = columns;
    canvas.current.height = rows;
    paint.clearRect(0, 0, columns, rows);
    if (!explanation.telling) return;
    grid.forEach((row, i) => row.forEach((moved, j) => {
      // above 0 the images agree there: covering it moved them apart
      paint.fillStyle = style.getPropertyValue(moved > 0 ? "--same" : "--different");
      paint.globalAlpha = 0.78 * Math.min(1, Math.abs(moved) / explanation.largest);
      paint.fillRect(j, i, 1, 1);
    }));
  });
  return html`<canvas class="overlay" ref=${canvas} aria-hidden="true"></canvas>`;
}
