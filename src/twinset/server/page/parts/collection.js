// The collection as tiles, a page at a time: to look around in, or to pick an item from.
import { html, useState } from "../vendor/preact.js";
import { asked, useGet } from "../api.js";
import { t } from "../language.js";
import { Dialog } from "./dialog.js";
import { ofItem } from "./pictures.js";
import { Answered, Empty } from "./states.js";
import { Tile } from "./tile.js";

const PAGE = 24;

/** @param {{where?: string[], onOpen: (item: {id: string, metadata: object}) => void}} given */
export function Collection({ where = [], onOpen }) {
  const [limit, setLimit] = useState(PAGE);
  const page = useGet(`/items${asked({ limit, where })}`);
  return html`<${Answered} answer=${page}>${({ items, total }) => html`<div class="stack">
    ${items.length ? html`<ul class="tiles">${items.map((one) => html`<${Tile} key=${one.id} hit=${one} onOpen=${() => onOpen(one)} />`)}</ul>` : where.length ? html`<p>${t("search.none-such")}</p>` : html`<${Empty} title=${t("empty.items")}>${t("empty.items.do")}<//>`}
    ${items.length >= limit && items.length !== total && html`<div><button class="button" type="button" onClick=${() => setLimit(limit + 2 * PAGE)}>${t("found.more")}</button></div>`}
  </div>`}<//>`;
}

/** A button that opens the collection, and gives the item that was picked as a picture. */
export function Picker({ onGive }) {
  const [open, setOpen] = useState(false);
  const pick = ({ id }) => {
    setOpen(false);
    onGive([ofItem(id)]);
  };
  return html`<button class="button plain" type="button" onClick=${() => setOpen(true)}>${t("drop.collection")}</button>
    ${open && html`<${Dialog} title=${t("drop.collection-title")} wide onClose=${() => setOpen(false)}><${Collection} onOpen=${pick} /><//>`}`;
}
