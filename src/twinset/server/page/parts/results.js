// What an index answers: neighbours, or identities. That nothing is similar enough is an answer too.
import { html } from "../vendor/preact.js";
import { far, percent, rule, t, told } from "../language.js";
import { useSaid } from "./announce.js";
import { Twins } from "./marks.js";
import { Tile, named } from "./tile.js";
import { voiced } from "./verdict.js";

function Said({ kind, ratio, lens, voice, children }) {
  useSaid(voice);
  return html`<div class=${`verdict ${kind}`}><${Twins} ratio=${ratio} lens=${lens} />
    <div class="stack"><h2 class="voice">${voiced(voice)}</h2><p class="measure quiet">${children}</p></div></div>`;
}

/** Neighbours, nearest first: the matches, then what is near but no match. */
export function Found({ answer, onOpen, more }) {
  const { neighbours, nearest, threshold, within, decided = [] } = answer;
  if (!nearest) return html`<${Said} kind="different" ratio=${1.3} voice=${t("found.nothing")}>${t("found.nothing-do")}<//>`;
  const matches = neighbours.filter((one) => one.match);
  const others = neighbours.filter((one) => !one.match);
  const limit = within ?? threshold.value;
  // neighbours that are no match are shown even so, apart; where a limit leaves none, the nearest is
  const rest = neighbours.length ? others : [nearest];
  const tiles = (hits) => html`<ul class="tiles">${hits.map((hit) => html`<${Tile} key=${hit.id} hit=${hit} threshold=${threshold.value} decided=${decided.includes(hit.id)} onOpen=${() => onOpen(hit)} />`)}</ul>`;
  return html`<div class="stack results">
    ${matches.length
      ? html`<${Said} kind="same" lens ratio=${nearest.distance / (threshold.value || 1e-9)} voice=${t(others.length || !more ? "found.matches" : "found.matches-more", { n: matches.length })}>
          ${t("found.within", { threshold: far(threshold.value), rule: rule(threshold.rule) })}<//>`
      : html`<${Said} kind="different" ratio=${nearest.distance / (limit || 1e-9)} voice=${t("found.none")}>
          ${t("found.nearest", { id: nearest.id, distance: far(nearest.distance), threshold: far(limit) })}<//>`}
    ${matches.length > 0 && tiles(matches)}
    ${rest.length > 0 && html`<h3 class="rule-head">${t(matches.length ? "found.others" : "found.nearest-head")}</h3>${tiles(rest)}`}
    ${more && html`<div><button class="button" type="button" onClick=${more}>${t("found.more")}</button></div>`}
  </div>`;
}

/** Who it is: the identity with its probability and the reference that matched, or nobody known. */
export function Who({ answer, onOpen }) {
  const { identities, threshold, nobody, known } = answer;
  const first = identities[0];
  if (!first) return html`<${Said} kind="different" ratio=${1.3} voice=${t("who.empty")}>${t("who.empty-do")}<//>`;
  const ratio = first.distance / (threshold.value || 1e-9);
  const sure = known ? first.probability : nobody;
  const hit = (one) => ({ ...one.nearest, match: one.match, probability: one.probability, distance: one.distance });
  const others = identities.slice(1);
  const tiles = (some) => html`<ul class="tiles">${some.map((one) => html`<${Tile} key=${one.name} hit=${hit(one)} title=${told(one.name)} threshold=${threshold.value}
      lines=${[t("who.reference", { id: named(one.nearest.id) }), t("who.references", { n: one.references })]} onOpen=${() => onOpen({ ...one.nearest, match: one.match, probability: one.probability })} />`)}</ul>`;
  return html`<div class="stack results">
    <${Said} kind=${known ? "same" : "different"} lens=${known} ratio=${ratio} voice=${known ? t("who.known", { name: told(first.name) }) : t("who.unknown")}>
      ${t(known ? "who.at" : "who.nearest", { name: told(first.name), distance: far(first.distance), threshold: far(threshold.value) })}
      ${sure !== null && sure !== undefined && html` ${t(known ? "who.sure" : "who.sure-nobody", { share: percent(sure) })}`}
    <//>
    <h3 class="rule-head">${t(known ? "who.candidates" : "who.nearest-head")}</h3>
    ${tiles([first])}
    ${others.length > 0 && html`<details><summary class="label">${t("who.others", { n: others.length })}</summary>${tiles(others)}</details>`}
  </div>`;
}
