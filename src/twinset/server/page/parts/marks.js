// Marks: the two circles that say near or far, and the icons of the bar.
import { html } from "../vendor/preact.js";

/**
 * Two circles that overlap the more, the nearer two images are: at the threshold (`ratio` 1) they touch.
 * A lens is drawn where they are the same.
 */
export function Twins({ ratio = 0.5, lens = false, kind = "" }) {
  const radius = 17;
  const apart = radius * 2 * Math.min(1.35, Math.max(0.12, ratio)); // between the centres
  const [left, right] = [50 - apart / 2, 50 + apart / 2];
  const half = Math.sqrt(Math.max(0, radius ** 2 - (apart / 2) ** 2));
  const arc = `A${radius} ${radius} 0 0 1`;
  return html`<svg class=${`twins ${kind}`} viewBox="8 12 84 40" aria-hidden="true">
    ${lens && half > 0 && html`<path class="lens" d=${`M50 ${32 - half}${arc} 50 ${32 + half}${arc} 50 ${32 - half}Z`} />`}
    <circle cx=${left} cy="32" r=${radius} /><circle cx=${right} cy="32" r=${radius} />
  </svg>`;
}

// Strokes on a grid of 24, drawn for this page.
const PATHS = {
  compare: "M4 5h7v14H4zM13 5h7v14h-7zM6.5 15l2-3 2 3M15.5 15l2-3 2 3",
  search: "M10.5 4a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13zM15.5 15.5L20 20",
  threshold: "M3 19c4 0 3.500-11 6-11s2.500 11 6 11M9 19c3.500 0 3-8 6-8s2.500 8 6 8M12 3v18",
  map: "M5 7h.01M9 5h.01M8 10h.01M16 8h.01M19 11h.01M17 13h.01M6 16h.01M10 18h.01M15 19h.01M19 17h.01M13 12h.01",
  review: "M4 6h9v12H4zM16 8l2 2 4-4M16 16h5",
  duplicates: "M4 4h11v11H4zM9 18.500V20h11V9h-1.500",
  report: "M6 3h9l4 4v14H6zM15 3v4h4M9 17v-4M12 17v-6M15 17v-2",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  sun: "M12 8a4 4 0 1 1 0 8a4 4 0 0 1 0-8zM12 3v1.500M12 19.500V21M3 12h1.500M19.500 12H21M5.600 5.600l1.100 1.100M17.300 17.300l1.100 1.100M18.400 5.600l-1.100 1.100M6.700 17.300l-1.100 1.100",
  moon: "M19.500 14A8 8 0 0 1 10 4.500a8 8 0 1 0 9.500 9.500z",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.500 8.500h.01",
  camera: "M4 8h4l1.500-2.500h5L16 8h4v11H4zM12 10.500a3 3 0 1 1 0 6a3 3 0 0 1 0-6z",
  close: "M6 6l12 12M18 6L6 18",
  swap: "M4 9h14l-3-3M20 15H6l3 3",
  filter: "M4 6h16M7 12h10M10 18h4",
  add: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  lasso: "M7 15c-5-3-3-10 5-10s10 7 4 10c-3 1.500-6 1-7-.5s1-3 2.500-2-.5 4-4 6.500",
  whole: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
};

export function Icon({ name }) {
  return html`<svg viewBox="0 0 24 24" width="22" height="22" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}
