// What was chosen on the map, as a list: by a lasso, a kind, a layer of mistakes, or around a new image.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { thumbnail } from "../api.js";
import { count, far, t } from "../language.js";
import { crisp, gone } from "../parts/pictures.js";
import { csv, save } from "../parts/table.js";
import { named } from "../parts/tile.js";
import { Badge } from "../parts/verdict.js";

const PAGE = 48;

/**
 * @param {{title: string, hits: {id: string, kind?: string, other?: string, otherKind?: string, distance?: number, match?: boolean}[],
 *          threshold: number, onOpen: (id: string) => void, onClose: () => void}} given
 *   `other` is what an item was taken for, or should have been near.
 */
export function Chosen({ title, hits, threshold, onOpen, onClose }) {
  const [most, setMost] = useState(PAGE);
  const self = useRef();
  useEffect(() => {
    setMost(PAGE);
    self.current.focus();
  }, [hits]);
  const kinds = new Map();
  for (const { kind } of hits) if (kind) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  const frequent = [...kinds].sort((a, b) => b[1] - a[1]);
  const table = () => {
    const pairs = hits.some((one) => one.other);
    const head = pairs ? ["id", "kind", "other", "other_kind", "distance"] : ["id", "kind"];
    const row = (one) => (pairs ? [one.id, one.kind, one.other, one.otherKind, one.distance] : [one.id, one.kind]);
    return csv([head, ...hits.map(row)]);
  };
  return html`<section class="stack map-chosen" aria-labelledby="map-chosen">
    <div class="row map-chosen-head">
      <h2 id="map-chosen" tabindex="-1" ref=${self}>${title}</h2>
      <button class="button slim" type="button" disabled=${!hits.length} onClick=${() => save("chosen.csv", table())}>${t("map.export")}</button>
      <button class="button plain slim" type="button" onClick=${onClose}>${t("close")}</button>
    </div>
    ${frequent.length > 1 && html`<p class="quiet">${frequent.slice(0, 8).map(([kind, times]) => `${kind} ${count(times)}`).join(" · ")}${frequent.length > 8 ? " …" : ""}</p>`}
    <ul class="tiles small-tiles">
      ${hits.slice(0, most).map((one) => html`<li class="tile" key=${`${one.id} ${one.other}`}>
        <button class=${`tile-face ${one.other ? "two" : ""}`} type="button" onClick=${() => onOpen(one.id)}>
          <img src=${thumbnail(one.id, 160)} alt=${named(one.id)} loading="lazy" onLoad=${crisp} onError=${gone} />
          ${one.other && html`<img src=${thumbnail(one.other, 160)} alt=${named(one.other)} loading="lazy" onLoad=${crisp} onError=${gone} />`}
          ${one.match !== undefined && html`<${Badge} match=${one.match} distance=${one.distance} threshold=${threshold} />`}
        </button>
        <div class="tile-text">
          <span class="tile-name" title=${one.id}>${one.other ? t("map.pair", { left: one.kind ?? "?", right: one.otherKind ?? "?" }) : (one.kind ?? named(one.id))}</span>
          ${one.distance !== undefined && html`<span class="number quiet">${t("tile.distance", { at: far(one.distance) })}</span>`}
          ${one.other
            ? html`<a href=${`./compare?${new URLSearchParams({ left: one.id, right: one.other })}`}>${t("map.compare")}</a>`
            : html`<a href=${`./search?${new URLSearchParams({ item: one.id })}`} aria-label=${t("map.search-of", { name: named(one.id) })}>${t("map.search")}</a>`}
        </div>
      </li>`)}
    </ul>
    ${hits.length > most && html`<div><button class="button" type="button" onClick=${() => setMost(most + PAGE)}>${t("map.more", { n: hits.length - most })}</button></div>`}
  </section>`;
}
