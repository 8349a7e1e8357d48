// Conditions on metadata: chips of those that hold, and a small form for another.
import { html, useState } from "../vendor/preact.js";
import { t } from "../language.js";
import { Icon } from "./marks.js";

const OPERATORS = { "=": "is", "!=": "is-not", "<=": "at-most", ">=": "at-least" };

/** A condition as the server reads it: names and texts are quoted, so that no character in them counts. */
export function condition(name, operator, value, kind) {
  const plain = kind === "number" || kind === "boolean" ? value : JSON.stringify(value);
  return `${/^\w+$/.test(name) ? name : JSON.stringify(name)}${operator}${plain}`;
}

/** Likewise for people. */
export function inWords(text) {
  const found = /^("(?:[^"\\]|\\.)*"|\w+)(!=|<=|>=|=)("(?:[^"\\]|\\.)*"|[^,]*)$/s.exec(text);
  if (!found) return text;
  const bare = (part) => {
    try {
      return part.startsWith('"') ? JSON.parse(part) : part;
    } catch {
      return part;
    }
  };
  return t(`filter.${OPERATORS[found[2]]}`, { name: bare(found[1]), value: bare(found[3]) });
}

/** @param {{columns: {name: string, kind: string, values?: (string | number | boolean)[]}[], where: string[], onWhere: (where: string[]) => void}} given */
export function Filter({ columns, where, onWhere }) {
  const [open, setOpen] = useState(false);
  const [name, setName] = useState(columns[0]?.name);
  const [operator, setOperator] = useState("=");
  const [value, setValue] = useState("");
  if (!columns.length) return null;
  const column = columns.find((one) => one.name === name) ?? columns[0];
  const ordered = column.kind === "number";
  const add = () => {
    if (value === "") return;
    const using = ordered || ["=", "!="].includes(operator) ? operator : "=";
    onWhere([...new Set([...where, condition(column.name, using, value, column.kind)])]);
    setValue("");
    setOpen(false);
  };
  return html`<div class="stack filter">
    ${where.length > 0 && html`<ul class="row">${where.map((one) => html`<li key=${one}>
      <button class="button slim" type="button" aria-label=${t("filter.drop", { what: inWords(one) })} onClick=${() => onWhere(where.filter((each) => each !== one))}>${inWords(one)}<${Icon} name="close" /></button>
    </li>`)}</ul>`}
    <div><button class="button slim" type="button" aria-expanded=${open} onClick=${() => setOpen(!open)}><${Icon} name="filter" />${t("filter.add")}</button></div>
    ${open && html`<div class="stack card filter-form">
      <div class="field"><label for="filter-name">${t("filter.column")}</label>
        <select class="input" id="filter-name" value=${column.name} onChange=${(e) => setName(e.target.value)}>${columns.map((one) => html`<option value=${one.name}>${one.name}</option>`)}</select></div>
      <div class="field"><label for="filter-how">${t("filter.how")}</label>
        <select class="input" id="filter-how" value=${operator} onChange=${(e) => setOperator(e.target.value)}>${Object.entries(OPERATORS).filter(([, key]) => ordered || key.startsWith("is")).map(([sign, key]) => html`<option value=${sign}>${t(`filter.${key}-how`)}</option>`)}</select></div>
      <div class="field"><label for="filter-value">${t("filter.value")}</label>
        <input class="input" id="filter-value" list="filter-values" inputmode=${ordered ? "decimal" : "text"} value=${value} onInput=${(e) => setValue(e.target.value)} onKeyDown=${(e) => e.key === "Enter" && add()} />
        <datalist id="filter-values">${(column.values ?? []).filter((one) => one !== null).map((one) => html`<option value=${one} />`)}</datalist></div>
      <div><button class="button main slim" type="button" onClick=${add}>${t("filter.set")}</button></div>
    </div>`}
  </div>`;
}
