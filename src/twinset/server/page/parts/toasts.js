// Short messages that go by themselves, read aloud; one that can be undone stays longer.
import { html, useEffect, useState } from "../vendor/preact.js";
import { t } from "../language.js";

let shown = [];
let draw = () => {};

/** Say something in passing. `action` is {text, run}: a button in the message. */
export function toast(text, action) {
  const one = { text, action };
  shown = [...shown.slice(-2), one];
  draw();
  setTimeout(() => hide(one), action ? 12000 : 6000);
}

function hide(one) {
  shown = shown.filter((each) => each !== one);
  draw();
}

export function Toasts() {
  const [, set] = useState(0);
  useEffect(() => {
    draw = () => set((n) => n + 1);
    return () => (draw = () => {});
  }, []);
  // the region is there from the start: one that comes with its text is not read by all readers
  return html`<div class="toasts" role="status" aria-label=${t("messages")}>
    ${shown.map(
      (one) => html`<div class="toast" key=${one}>
        <span>${one.text}</span>
        ${one.action && html`<button class="button slim" type="button" onClick=${() => (hide(one), one.action.run())}>${one.action.text}</button>`}
      </div>`,
    )}
  </div>`;
}
