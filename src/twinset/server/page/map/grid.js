// Points sorted into the cells of a grid: which one is under the pointer, and which are inside a line.

/** Whether a point is inside a closed line of [x, y, x, y, …]: a ray to the right crosses it an odd number of times. */
export function inside(line, x, y) {
  let odd = false;
  for (let i = 0, j = line.length - 2; i < line.length; j = i, i += 2) {
    const [xi, yi, xj, yj] = [line[i], line[i + 1], line[j], line[j + 1]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

export class Grid {
  /** @param {Float32Array} xy x, y of n points */
  constructor(xy) {
    const n = xy.length / 2;
    this.xy = xy;
    let [left, low, right, high] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = 0; i < xy.length; i += 2) {
      left = Math.min(left, xy[i]);
      right = Math.max(right, xy[i]);
      low = Math.min(low, xy[i + 1]);
      high = Math.max(high, xy[i + 1]);
    }
    this.side = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(n / 2))));
    this.box = n ? [left, low, right, high] : [0, 0, 1, 1];
    this.wide = Math.max(this.box[2] - this.box[0], 1e-9) / this.side;
    this.tall = Math.max(this.box[3] - this.box[1], 1e-9) / this.side;
    // counting sort: cell c holds the rows order[starts[c]] … order[starts[c + 1] - 1]
    const cell = new Uint32Array(n);
    this.starts = new Uint32Array(this.side * this.side + 1);
    for (let i = 0; i < n; i++) {
      cell[i] = this.#column(xy[2 * i]) + this.side * this.#row(xy[2 * i + 1]);
      this.starts[cell[i] + 1]++;
    }
    for (let c = 1; c < this.starts.length; c++) this.starts[c] += this.starts[c - 1];
    const next = this.starts.slice();
    this.order = new Uint32Array(n);
    for (let i = 0; i < n; i++) this.order[next[cell[i]]++] = i;
  }

  #column = (x) => Math.max(0, Math.min(this.side - 1, Math.floor((x - this.box[0]) / this.wide)));
  #row = (y) => Math.max(0, Math.min(this.side - 1, Math.floor((y - this.box[1]) / this.tall)));

  /** The points of all cells that a box touches, and perhaps some around it. */
  *touching(left, low, right, high) {
    for (let row = this.#row(low); row <= this.#row(high); row++) {
      const first = this.starts[row * this.side + this.#column(left)];
      const last = this.starts[row * this.side + this.#column(right) + 1];
      for (let k = first; k < last; k++) yield this.order[k];
    }
  }

  /** The points in a box. */
  *in(left, low, right, high) {
    for (const i of this.touching(left, low, right, high)) {
      const [x, y] = [this.xy[2 * i], this.xy[2 * i + 1]];
      if (x >= left && x <= right && y >= low && y <= high) yield i;
    }
  }

  /** The point nearest to a place, no farther than `reach`; -1 where there is none. */
  near(x, y, reach, counts = () => true) {
    let best = -1;
    let least = reach * reach;
    for (const i of this.touching(x - reach, y - reach, x + reach, y + reach)) {
      const far = (this.xy[2 * i] - x) ** 2 + (this.xy[2 * i + 1] - y) ** 2;
      if (far <= least && counts(i)) [best, least] = [i, far];
    }
    return best;
  }

  /** The points inside a closed line, ascending. */
  within(line, counts = () => true) {
    const xs = line.filter((_, k) => k % 2 === 0);
    const ys = line.filter((_, k) => k % 2);
    const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    const found = [];
    for (const i of this.in(...box)) {
      if (counts(i) && inside(line, this.xy[2 * i], this.xy[2 * i + 1])) found.push(i);
    }
    return found.sort((a, b) => a - b);
  }
}
