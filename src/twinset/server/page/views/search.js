// Search and identify: a picture in, what is like it or who it is out, with a verdict on every tile.
import { html, useState } from "../vendor/preact.js";
import { call, form, useAnswer } from "../api.js";
import { far, t } from "../language.js";
import { Collection } from "../parts/collection.js";
import { Drop } from "../parts/drop.js";
import { Enrol } from "../parts/enrol.js";
import { Filter } from "../parts/filter.js";
import { Item } from "../parts/item.js";
import { Icon } from "../parts/marks.js";
import { crisp, keep, keptAt, ofItem } from "../parts/pictures.js";
import { PointChoice, pointsOf } from "../parts/points.js";
import { Found, Who } from "../parts/results.js";
import { Answered } from "../parts/states.js";
import { ask } from "../router.js";

export const path = "/search";
export const title = "search.title";
export const icon = "search";
export const needs = "index";

const wide = matchMedia("(min-width: 56rem)"); // on a phone the answer comes before the options
const PAGE = 24;
const MOST = 240;

export function View({ query, model, index, refresh }) {
  const [turn, redraw] = useState(0);
  const [open, setOpen] = useState();
  const [enrol, setEnrol] = useState();
  const item = query.get("item");
  const pictures = item ? [ofItem(item)] : (keptAt("query") ?? []);
  const identities = index.identities;
  // an item would be told from itself: who it is asks for an image from outside
  const who = query.get("as") === "identity" && Boolean(identities) && !item;
  const [k, only, together] = [Number(query.get("k")) || PAGE, query.has("only"), query.has("together")];
  const [where, point] = [query.getAll("where"), query.get("point")];
  const give = (found) => {
    const files = found.filter((one) => one.file);
    keep("query", files.length ? files : undefined);
    ask({ item: files.length ? undefined : found[0]?.item, k: undefined }, { replace: false });
    redraw((n) => n + 1);
  };
  const points = pointsOf(index);
  const threshold = points.find((one) => one.key === point)?.threshold ?? index.threshold.value;
  const body = () =>
    form({ images: pictures.map((one) => one.file), item, where, k: who ? Math.min(k, 12) : k, point, together: pictures.length > 1 && together ? "true" : undefined, within: !who && only ? "threshold" : undefined });
  const answer = useAnswer(
    pictures.length > 0 && ((signal, onWait) => call(who ? "/identify" : "/search", { body: body(), signal, onWait })),
    [...pictures.map((one) => one.file), pictures.length, item, who, k, only, together, where.join("\n"), point, turn],
  );
  const answers = answer.value?.answers ?? [];
  const each = (one, place) =>
    "identities" in one
      ? html`<${Who} answer=${one} onOpen=${setOpen} />`
      : html`<${Found} answer=${one} onOpen=${setOpen} more=${one.neighbours.length >= k && k < MOST && (() => ask({ k: k + PAGE }))} />`;

  return html`
    <header class="view-head"><h1 tabindex="-1">${t(who ? "search.ask-who" : "search.ask")}</h1></header>
    <div class="desk">
      <aside class="stack desk-side" aria-label=${t("search.query")}>
        <${Drop} label=${t("search.query")} input=${model.input} many picture=${pictures.length === 1 ? pictures[0] : undefined} onGive=${give} onClear=${() => give([])}>
          ${pictures.length > 1 && html`<div class="stack"><ul class="strip">${pictures.map((one) => html`<li><img src=${one.url} alt=${one.name} onLoad=${crisp} /></li>`)}</ul>
            <div class="row"><button class="button slim" type="button" onClick=${() => give([])}>${t("search.clear")}</button></div></div>`}
        <//>
        ${identities && !item && html`<div class="segments wide" role="group" aria-label=${t("search.mode")}>
          <button type="button" aria-pressed=${!who} onClick=${() => ask({ as: undefined })}>${t("search.like")}</button>
          <button type="button" aria-pressed=${who} onClick=${() => ask({ as: "identity" })}>${t("search.who")}</button>
        </div>`}
        <details class="options" open=${wide.matches}>
          <summary class="label">${t("search.options")}</summary>
          <div class="stack">
            ${pictures.length > 1 && html`<label class="check"><input type="checkbox" checked=${together} onChange=${() => ask({ together: together ? undefined : "1" })} />${t("search.together")}</label>`}
            ${!who && html`<label class="check"><input type="checkbox" checked=${only} onChange=${() => ask({ only: only ? undefined : "1" })} />${t("search.only", { at: far(threshold) })}</label>`}
            <${PointChoice} points=${points} value=${point} onChoose=${(key) => ask({ point: key })} />
            <${Filter} columns=${index.columns} where=${where} onWhere=${(next) => ask({ where: next })} />
          </div>
        </details>
        ${model.writable && pictures.length === 1 && pictures[0].file && html`<div><button class="button slim" type="button" onClick=${() => setEnrol(pictures[0])}><${Icon} name="add" />${t("enrol.title")}</button></div>`}
      </aside>
      <section class="desk-main" aria-label=${t("search.answer")}>
        ${pictures.length
          ? html`<${Answered} answer=${answer}>${() => answers.map((one, place) => html`<div class="one-answer" key=${place}>
              ${answers.length > 1 && html`<p class="row"><img class="query-small" src=${pictures[place]?.url} alt="" onLoad=${crisp} /><strong>${pictures[place]?.name}</strong></p>`}
              ${each(one, place)}</div>`)}<//>`
          : html`<div class="stack">${index.items > 0 && html`<p class="quiet">${t("search.browse")}</p>`}<${Collection} where=${where} onOpen=${setOpen} /></div>`}
      </section>
    </div>
    ${open && html`<${Item} hit=${open} query=${pictures[0]} threshold=${threshold} writable=${model.writable} onClose=${() => setOpen()} onGone=${() => (refresh(), redraw(turn + 1))} />`}
    ${enrol && html`<${Enrol} picture=${enrol} columns=${index.columns} onClose=${() => setEnrol()} onDone=${() => (refresh(), redraw(turn + 1))} />`}`;
}
