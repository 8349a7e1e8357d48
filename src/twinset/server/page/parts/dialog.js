// A dialog on the element that browsers have: it keeps the focus, Escape closes it, the page behind is inert.
import { html, useEffect, useRef } from "../vendor/preact.js";
import { token } from "../api.js";
import { t } from "../language.js";
import { Icon } from "./marks.js";

export function Dialog({ title, wide, onClose, children }) {
  const self = useRef();
  useEffect(() => {
    const back = document.activeElement;
    self.current.showModal();
    addEventListener("popstate", onClose); // as on a phone, where one goes back to close
    return () => (removeEventListener("popstate", onClose), back?.focus?.());
  }, []);
  // a click on the backdrop is one on the dialog itself, outside of what is in it
  const outside = (event) => event.target === self.current && onClose();
  return html`<dialog class=${`dialog ${wide ? "wide" : ""}`} ref=${self} aria-labelledby="dialog-title" onClose=${onClose} onClick=${outside}>
    <div class="dialog-head">
      <h2 id="dialog-title">${title}</h2>
      <button class="button plain" type="button" aria-label=${t("close")} onClick=${onClose}><${Icon} name="close" /></button>
    </div>
    <div class="dialog-body">${children}</div>
  </dialog>`;
}

/** What is typed in a dialog, sent by Enter or its button. Nothing is submitted: the page has no such address. */
export const Typed = ({ onSend, children }) =>
  html`<form class="stack" onSubmit=${(event) => (event.preventDefault(), onSend())}>${children}</form>`;

/** The token's field, shown while none was typed in this tab. Not a password, which browsers offer to keep. */
export function TokenField({ value, onInput }) {
  if (token.get()) return null;
  return html`<div class="field">
    <label for="token">${t("token")}</label>
    <input class="input secret" id="token" type="text" autocomplete="off" autocapitalize="off" spellcheck=${false} value=${value} onInput=${(e) => onInput(e.target.value)} required />
    <p class="small quiet">${t("token.why")}</p>
  </div>`;
}
