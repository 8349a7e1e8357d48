// Colours for kinds: as far apart as so many can be, on light paper and on dark.

const UNKNOWN = { light: [125, 139, 148], dark: [109, 127, 137] };

/** A colour of OKLCH (lightness, chroma, hue in turns) as red, green, blue of 255: Ottosson (2020). */
export function oklch(light, chroma, turn) {
  const [a, b] = [chroma * Math.cos(2 * Math.PI * turn), chroma * Math.sin(2 * Math.PI * turn)];
  const [l, m, s] = [
    light + 0.3963377774 * a + 0.2158037573 * b,
    light - 0.1055613458 * a - 0.0638541728 * b,
    light - 0.0894841775 * a - 1.291485548 * b,
  ].map((one) => one ** 3);
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((one) => {
    const held = Math.min(1, Math.max(0, one));
    return Math.round(255 * (held <= 0.0031308 ? 12.92 * held : 1.055 * held ** (1 / 2.4) - 0.055));
  });
}

/** The colours of so many kinds, the most frequent first; neighbours in hue differ in lightness. */
export function palette(kinds, theme) {
  const lights = theme === "dark" ? [0.86, 0.64, 0.75] : [0.48, 0.69, 0.58];
  // up to a dozen hues are told apart; of more kinds the legend has to tell
  const hues = Math.min(Math.max(kinds, 1), 12);
  const step = [5, 7, 3, 1].find((one) => one < hues && hues % one) ?? 1; // not round the circle in order
  const levels = hues % 2 ? 3 : 2;
  return Array.from({ length: kinds }, (_, k) => {
    const place = (k * step) % hues;
    return oklch(lights[(place + Math.floor(k / 12)) % levels], 0.15, 0.07 + place / hues + 0.03 * Math.floor(k / hues));
  });
}

/**
 * The colours of all points: `strong` says which stand out (all where it is null), the others are a haze.
 * @param {number} n @param {number[] | null} codes @param {number[][]} colours
 * @param {((row: number) => boolean) | null} strong
 */
export function paintAll(n, codes, colours, theme, strong) {
  const rgba = new Uint8Array(4 * n);
  const full = n > 5000 ? 190 : 230;
  const grey = UNKNOWN[theme];
  for (let row = 0; row < n; row++) {
    const ink = codes && codes[row] >= 0 ? colours[codes[row]] : grey;
    rgba.set(ink, 4 * row);
    rgba[4 * row + 3] = !strong ? full : strong(row) ? 255 : n > 5000 ? 22 : 50;
  }
  return rgba;
}
