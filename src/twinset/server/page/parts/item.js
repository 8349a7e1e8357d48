// One item, close up: its image, what is known of it, and where to go from there.
import { html, useState } from "../vendor/preact.js";
import { call, image, item, token } from "../api.js";
import { far, percent, t, told } from "../language.js";
import { go } from "../router.js";
import { Dialog } from "./dialog.js";
import { crisp, keep } from "./pictures.js";
import { named } from "./tile.js";
import { toast } from "./toasts.js";
import { Badge } from "./verdict.js";

/** @param {{hit: object, query?: import("./pictures.js").Picture, threshold?: number, writable?: boolean, onClose: () => void, onGone?: () => void}} given */
export function Item({ hit, query, threshold, writable, onClose, onGone }) {
  const [sure, setSure] = useState(false);
  const compare = () => {
    onClose();
    keep("left", query.item ? undefined : query);
    go(`/compare?${new URLSearchParams({ ...(query.item && { left: query.item }), right: hit.id })}`);
  };
  const search = () => {
    onClose();
    go(`/search?${new URLSearchParams({ item: hit.id })}`);
  };
  const remove = async () => {
    if (!sure) return setSure(true);
    try {
      await call(item(hit.id), { method: "DELETE", write: true });
      toast(t("item.removed", { id: hit.id }));
      onClose();
      onGone?.();
    } catch (problem) {
      toast(`${problem.title}: ${problem.detail}`);
    }
  };
  return html`<${Dialog} title=${named(hit.id)} wide onClose=${onClose}>
    <div class="item">
      ${hit.picture === false ? html`<span class="tile-none">${named(hit.id)}</span>` : html`<img src=${image(hit.id)} alt=${named(hit.id)} onLoad=${crisp} />`}
      <div class="stack">
        ${hit.match !== undefined && html`<p class="row"><${Badge} match=${hit.match} probability=${hit.probability} distance=${hit.distance} threshold=${threshold} /></p>`}
        <dl class="facts">
          <dt>${t("item.id")}</dt><dd>${hit.id}</dd>
          ${hit.distance !== undefined && html`<dt>${t("item.distance")}</dt><dd>${far(hit.distance)}</dd>`}
          ${hit.probability !== null && hit.probability !== undefined && html`<dt>${t("item.probability")}</dt><dd>${percent(hit.probability)}</dd>`}
          ${Object.entries(hit.metadata ?? {}).map(([name, value]) => html`<dt>${name}</dt><dd>${told(value)}</dd>`)}
        </dl>
        <div class="row">
          <button class="button main" type="button" onClick=${search}>${t("item.search")}</button>
          ${query && html`<button class="button" type="button" onClick=${compare}>${t("item.compare")}</button>`}
          ${writable && token.get() && html`<button class="button plain" type="button" onClick=${remove}>${t(sure ? "item.remove-sure" : "item.remove")}</button>`}
        </div>
      </div>
    </div>
  <//>`;
}
