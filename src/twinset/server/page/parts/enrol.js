// A picture becomes an item of the index: what it is called, and what is known of it.
import { html, useState } from "../vendor/preact.js";
import { call, form, token } from "../api.js";
import { t } from "../language.js";
import { Dialog, TokenField, Typed } from "./dialog.js";
import { Trouble } from "./states.js";
import { toast } from "./toasts.js";

/** @param {{picture: import("./pictures.js").Picture, columns: {name: string, kind: string}[], onClose: () => void, onDone: () => void}} given */
export function Enrol({ picture, columns, start = {}, onClose, onDone }) {
  const [id, setId] = useState(picture.name);
  const [known, setKnown] = useState(start);
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState();
  const [busy, setBusy] = useState(false);
  const typed = (kind, text) => (kind === "number" ? Number(text) : kind === "boolean" ? text === "true" : text);
  const add = async () => {
    if (secret) token.set(secret);
    setBusy(true);
    setProblem(undefined);
    const filled = columns.filter(({ name }) => known[name]).map(({ name, kind }) => [name, typed(kind, known[name])]);
    try {
      await call("/items", { body: form({ image: picture.file, id, metadata: JSON.stringify(Object.fromEntries(filled)) }), write: true });
      toast(t("enrol.done", { id }));
      onDone();
      onClose();
    } catch (found) {
      setProblem(found);
    }
    setBusy(false);
  };
  return html`<${Dialog} title=${t("enrol.title")} onClose=${onClose}><${Typed} onSend=${add}>
    <div class="field"><label for="enrol-id">${t("enrol.id")}</label><input class="input" id="enrol-id" value=${id} onInput=${(e) => setId(e.target.value)} /></div>
    ${columns.map(({ name, kind }) => html`<div class="field" key=${name}><label for=${`enrol-${name}`}>${name}</label>
      <input class="input" id=${`enrol-${name}`} inputmode=${kind === "number" ? "decimal" : "text"} value=${known[name] ?? ""} onInput=${(e) => setKnown({ ...known, [name]: e.target.value })} /></div>`)}
    <${TokenField} value=${secret} onInput=${setSecret} />
    ${problem && html`<${Trouble} problem=${problem} />`}
    <div class="row">
      <button class="button main" type="submit" disabled=${busy || !id}>${t("enrol.add")}</button>
      <button class="button plain" type="button" onClick=${onClose}>${t("cancel")}</button>
    </div>
  <//><//>`;
}
