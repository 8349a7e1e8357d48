// A slider with its name and its value in words: moved by mouse, finger, arrows, Page Up and Down.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";

let made = 0;

/** @param {{label: string, value: number, low: number, high: number, step: number, said: string, onInput: (value: number) => void}} given */
export function Slider({ label, value, low, high, step, said, onInput, children }) {
  const id = useRef(`slider-${(made += 1)}`).current;
  return html`<div class="field">
    <div class="row slider-head"><label class="label" for=${id}>${label}</label><output class="number" for=${id}>${said}</output></div>
    <input class="slider" id=${id} type="range" min=${low} max=${high} step=${step} value=${value} aria-valuetext=${said} onInput=${(e) => onInput(Number(e.target.value))} />
    ${children}
  </div>`;
}

/**
 * A value that follows the hand at once, and is kept (in the address, say) when the hand rests: browsers
 * refuse an address that changes a hundred times in a few seconds.
 * @param {number} rest how long, in milliseconds
 */
export function useSlid(value, keep, rest = 200) {
  const [now, set] = useState(value);
  const timer = useRef(0);
  // What was kept comes back after the next frame, when the hand may have gone on: its step would be undone.
  useEffect(() => void (timer.current || set(value)), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const move = (to) => {
    set(to);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      timer.current = 0;
      keep(to);
    }, rest);
  };
  return [now, move];
}
