// The legend, which is a table: each kind with its colour, how many there are, and the way to them.
import { html, useState } from "../vendor/preact.js";
import { count, t } from "../language.js";

const FEW = 40;

/** @param {{column: {names: string[], counts: number[]}, colours: number[][], kind?: string, onKind: Function, onList: Function}} given */
export function Kinds({ column, colours, kind, onKind, onList }) {
  const [text, setText] = useState("");
  const [all, setAll] = useState(false);
  const wanted = column.names.map((name, code) => ({ name, code })).filter(({ name }) => name.toLowerCase().includes(text.toLowerCase()));
  const shown = all ? wanted : wanted.slice(0, FEW);
  return html`<div class="stack map-kinds">
    ${column.names.length > FEW && html`<div class="field"><label for="map-find">${t("map.find")}</label><input class="input" id="map-find" type="search" value=${text} onInput=${(e) => setText(e.target.value)} /></div>`}
    <div class="map-table" tabindex="0" role="region" aria-label=${t("map.kinds")}><table>
      <thead class="unseen"><tr><th>${t("map.kind")}</th><th>${t("map.items")}</th><th>${t("map.list")}</th></tr></thead>
      <tbody>
        ${shown.map(({ name, code }) => html`<tr key=${code} class=${kind === name ? "chosen" : ""}>
          <th scope="row"><button class="map-kind" type="button" aria-pressed=${kind === name} onClick=${() => onKind(kind === name ? undefined : name, code)}>
            <span class="map-dot" style=${{ background: `rgb(${colours[code].join(" ")})` }}></span><span title=${name}>${name}</span></button></th>
          <td class="number">${count(column.counts[code])}</td>
          <td><button class="button plain slim" type="button" aria-label=${t("map.list-of", { name })} onClick=${() => onList(name, code)}>${t("map.list")}</button></td>
        </tr>`)}
      </tbody>
    </table></div>
    ${wanted.length > shown.length && html`<button class="button slim" type="button" onClick=${() => setAll(true)}>${t("map.all-kinds", { n: wanted.length })}</button>`}
  </div>`;
}
