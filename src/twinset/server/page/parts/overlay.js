// Where two images agree and differ, drawn over one of them: a cell of the grid moves the distance so far.
import { html, useEffect, useRef } from "../vendor/preact.js";

/** Where the model's frame lies in an image of w x h pixels: it may be wider than the image, or narrower. */
export function frame({ shape: [high, wide], resize }, w, h) {
  if (resize === "stretch") return { x: 0, y: 0, across: w / wide, down: h / high };
  const scale = (resize === "crop" ? Math.max : Math.min)(wide / w, high / h);
  return { x: (w - wide / scale) / 2, y: (h - high / scale) / 2, across: 1 / scale, down: 1 / scale };
}

/** @param {{explanation: {left: number[][], right: number[][], largest: number, step: number}, side: "left" | "right", input: object}} given */
export function Overlay({ explanation, side, input }) {
  const canvas = useRef();
  useEffect(() => {
    const picture = canvas.current.parentElement.querySelector("img");
    if (!picture || !explanation.telling) return;
    const draw = () => paint(canvas.current, explanation[side], explanation, input, picture);
    if (picture.complete) draw();
    picture.addEventListener("load", draw);
    return () => picture.removeEventListener("load", draw);
  });
  return html`<canvas class="overlay" ref=${canvas} aria-hidden="true"></canvas>`;
}

function paint(canvas, grid, { largest, step }, input, { naturalWidth: w, naturalHeight: h }) {
  const style = getComputedStyle(document.documentElement);
  const cells = document.createElement("canvas");
  [cells.width, cells.height] = [grid[0].length, grid.length];
  const small = cells.getContext("2d");
  grid.forEach((row, i) =>
    row.forEach((moved, j) => {
      // above 0 the images agree there: covering it moved them apart
      small.fillStyle = style.getPropertyValue(moved > 0 ? "--agree" : "--differ");
      small.globalAlpha = 0.85 * Math.min(1, Math.abs(moved) / largest);
      small.fillRect(j, i, 1, 1);
    }),
  );
  const scale = Math.min(1, 640 / Math.max(w, h)) * Math.max(1, 320 / Math.max(w, h));
  [canvas.width, canvas.height] = [w * scale, h * scale];
  const { x, y, across, down } = frame(input, w, h);
  // the browser's own smoothing between cells, which overlap by half anyway
  canvas.getContext("2d").drawImage(cells, x * scale, y * scale, grid[0].length * step * across * scale, grid.length * step * down * scale);
}
