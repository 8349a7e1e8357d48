// The images of items near by: a few at a time are fetched, and the latest are kept.
import { thumbnail } from "../api.js";

const AT_ONCE = 6; // as many as a browser has connections
const KEPT = 600;

export class Thumbs {
  constructor(onCome) {
    this.onCome = onCome;
    this.kept = new Map(); // id → image, or null while it is on its way or where there is none
    this.wanted = [];
    this.busy = 0;
  }

  get = (id) => this.kept.get(id) ?? null;

  /** Say which images are in sight now; what was wanted before and is not any more is not fetched. */
  want(ids) {
    this.wanted = ids.filter((id) => !this.kept.has(id));
    while (this.busy < AT_ONCE && this.wanted.length) this.#fetch(this.wanted.shift());
  }

  #fetch(id) {
    const image = new Image();
    this.kept.set(id, null);
    this.busy++;
    const done = () => {
      this.busy--;
      if (image.naturalWidth) this.kept.set(id, image);
      // a busy server refuses some: they are asked for again, but not at once
      else setTimeout(() => this.kept.delete(id), 2000);
      for (const old of this.kept.keys()) {
        if (this.kept.size <= KEPT) break;
        this.kept.delete(old);
      }
      while (this.busy < AT_ONCE && this.wanted.length) this.#fetch(this.wanted.shift());
      this.onCome();
    };
    image.onload = image.onerror = done;
    image.src = thumbnail(id, 160);
  }
}

const SIZE = 46;

/**
 * Which points are shown as images: one of each cell of a net that moves with the map, so that what
 * is shown stays while one moves.
 */
export function spaced(plot, rows) {
  // the net widens in steps as one comes nearer
  const step = 1.4 ** Math.floor(Math.log(plot.scale) / Math.log(1.4));
  const cell = (1.45 * SIZE) / step;
  const taken = new Map();
  for (const row of rows) {
    const key = `${Math.floor(plot.xy[2 * row] / cell)},${Math.floor(plot.xy[2 * row + 1] / cell)}`;
    const before = taken.get(key);
    if (before === undefined || row < before) taken.set(key, row);
  }
  return [...taken.values()];
}

/** Draw the image of a point with a frame in its colour. */
export function drawThumb(paint, plot, row, image) {
  const [x, y] = plot.screen(plot.xy[2 * row], plot.xy[2 * row + 1]);
  const part = SIZE / Math.max(image.naturalWidth, image.naturalHeight);
  const [wide, tall] = [image.naturalWidth * part, image.naturalHeight * part];
  const [red, green, blue] = plot.rgba.subarray(4 * row);
  paint.imageSmoothingEnabled = image.naturalWidth > 96;
  paint.fillStyle = `rgb(${red} ${green} ${blue})`;
  paint.fillRect(x - wide / 2 - 2, y - tall / 2 - 2, wide + 4, tall + 4);
  paint.drawImage(image, x - wide / 2, y - tall / 2, wide, tall);
}
