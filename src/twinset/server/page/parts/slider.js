// A slider with its name and its value in words: moved by mouse, finger, arrows, Page Up and Down.
import { html, useRef } from "../vendor/preact.js";

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
