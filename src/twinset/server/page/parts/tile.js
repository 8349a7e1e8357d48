// A tile: an item's image with the verdict on it, what it is called, and what is known of it.
import { html } from "../vendor/preact.js";
import { thumbnail } from "../api.js";
import { far, percent, t, told } from "../language.js";
import { crisp } from "./pictures.js";
import { Badge, word } from "./verdict.js";

export const named = (id) => id.split("/").at(-1);

/**
 * @param {{hit: {id: string, distance?: number, match?: boolean, probability?: number | null, metadata?: object},
 *          threshold?: number, title?: string, decided?: boolean, onOpen: () => void, lines?: string[]}} given
 */
export function Tile({ hit, threshold, title, decided, onOpen, lines }) {
  const known = Object.entries(hit.metadata ?? {}).filter(([, value]) => value !== null && value !== "").slice(0, 2);
  const verdict = hit.match === undefined ? "" : word(hit.match);
  const drag = (event) => event.dataTransfer.setData("text/x-twinset-item", hit.id);
  return html`<li class=${`tile ${verdict}`}>
    <button class="tile-face" type="button" onClick=${onOpen} draggable="true" onDragStart=${drag}>
      ${hit.picture === false ? html`<span class="tile-none">${named(hit.id)}</span>` : html`<img src=${thumbnail(hit.id)} alt=${title ?? named(hit.id)} loading="lazy" onLoad=${crisp} />`}
      ${hit.match !== undefined && html`<${Badge} match=${hit.match} decided=${decided} probability=${hit.probability} distance=${hit.distance} threshold=${threshold} />`}
    </button>
    <div class="tile-text">
      <span class="tile-name" title=${hit.id}>${title ?? named(hit.id)}</span>
      ${hit.distance !== undefined && html`<span class="number quiet">${t("tile.distance", { at: far(hit.distance) })}</span>`}
      ${hit.match === false && hit.probability !== null && hit.probability !== undefined && html`<span class="number quiet">${t("likely", { share: percent(hit.probability) })}</span>`}
      ${(lines ?? (known.length ? [known.map(([, value]) => told(value)).join(" · ")] : [])).map((line) => html`<span class="quiet" title=${line}>${line}</span>`)}
    </div>
  </li>`;
}
