// English and French: which one is spoken, and how numbers are written in it.
import { TEXTS } from "./texts.js";

export const LANGUAGES = ["en", "fr"];

// A link that says ?lang=fr wins, then what was chosen here before, then the browser's wish.
const asked = new URLSearchParams(location.search).get("lang");
const wish = [asked, localStorage.getItem("language"), ...navigator.languages.map((l) => l.slice(0, 2))];
let spoken = wish.find((one) => LANGUAGES.includes(one)) ?? "en";
document.documentElement.lang = spoken;

export const language = () => spoken;

export function speak(one) {
  spoken = one;
  document.documentElement.lang = one;
  localStorage.setItem("language", one);
}

/**
 * Say a text in the language spoken: `{name}` is replaced; "one|many" is chosen by `n`.
 * @param {string} key of texts.js
 * @param {Record<string, string | number>} values
 */
export function t(key, values = {}) {
  const entry = TEXTS[key];
  if (!entry) return key; // seen at once in the page, and by the test that looks for such keys
  const forms = entry[LANGUAGES.indexOf(spoken)].split("|");
  const one = "n" in values && new Intl.PluralRules(spoken).select(values.n) === "one";
  const text = forms.length > 1 && !one ? forms[1] : forms[0];
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    name in values ? (typeof values[name] === "number" ? count(values[name]) : values[name]) : whole,
  );
}

export const has = (key) => key in TEXTS;

const written = (value, options) => new Intl.NumberFormat(spoken, options).format(value);

/** A whole number. */
export const count = (value) => written(value, { maximumFractionDigits: 0 });

/** A distance: as many digits as tell neighbours apart. */
export const far = (value) => written(value, { minimumFractionDigits: 3, maximumFractionDigits: 3 });

/** A share of one, in percent. What is not certain is never said to be: not 100%, but > 99.9%. */
export function percent(share, digits = share > 0.0995 && share < 0.9905 ? 0 : 1) {
  const options = { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits };
  const edge = 0.5 / 10 ** (digits + 2);
  if (share > 0 && share < edge) return `< ${written(2 * edge, options)}`;
  if (share < 1 && share > 1 - edge) return `> ${written(1 - 2 * edge, options)}`;
  return written(share, options);
}

/** A size in bytes. */
export const megabytes = (bytes) => written(bytes / 2 ** 20, { style: "unit", unit: "megabyte", maximumFractionDigits: bytes < 2 ** 23 ? 1 : 0 });

/** Any value of an item's metadata. */
export function told(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return written(value, { maximumFractionDigits: 4 });
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  return String(value);
}

/** The rule by which a threshold was chosen, in words; a rule that we do not know is quoted. */
export function rule(text) {
  const limit = /^(FPR|FMR|FNMR|FNR) <= ([\d.]+)$/.exec(text);
  if (limit) return t(limit[1].startsWith("FN") ? "rule.fnmr" : "rule.fmr", { share: written(Number(limit[2]), { style: "percent", maximumFractionDigits: 2 }) });
  const key = `rule.${text}`;
  return has(key) ? t(key) : text;
}
