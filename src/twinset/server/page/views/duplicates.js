// Duplicates: groups, the tightest first; the same picture and the same thing apart; a plan, and no deletion.
import { html, useState } from "../vendor/preact.js";
import { BASE, asked, call, thumbnail, token, useAnswer } from "../api.js";
import { count, far, t, told } from "../language.js";
import { Computed } from "../parts/computing.js";
import { AskToken, changed, decide, takeBack } from "../parts/decide.js";
import { Dialog } from "../parts/dialog.js";
import { Item } from "../parts/item.js";
import { crisp, gone } from "../parts/pictures.js";
import { Slider, useSlid } from "../parts/slider.js";
import { Empty } from "../parts/states.js";
import { rowsOf } from "../parts/table.js";
import { named } from "../parts/tile.js";
import { toast } from "../parts/toasts.js";
import { ask, numberOf } from "../router.js";
import { Pair, questionOf } from "./review.js";

export const path = "/duplicates";
export const title = "duplicates.title";
export const icon = "duplicates";
export const needs = "items";

const PAGE = 20;
const RULES = ["largest", "newest", "oldest", "middle"];
const FEW = 12; // members of a group that are shown before one asks for all

export function View({ query, model, refresh }) {
  const kind = query.get("kind") === "thing" ? "thing" : "picture";
  // the strictest threshold that is known, as the server's own default: things of a class are no duplicates
  const own = Math.min(model.threshold.value, ...model.alternatives.map((one) => one.value).filter((value) => value > 0));
  // copies lie much closer than things of one kind: each question has a threshold of its own
  const within = numberOf(query, `${kind}-within`, own);
  const rule = RULES.find((one) => one === query.get("keep")) ?? "largest";
  const most = Number(query.get("most")) || PAGE;
  const [drawn, settle] = useSlid(within, (to) => ask({ [`${kind}-within`]: Number(to.toPrecision(4)), most: undefined }), 500);
  const [turn, setTurn] = useState(0);
  const [link, setLink] = useState();
  const [open, setOpen] = useState();
  const options = { kind, within: within === own ? undefined : within, limit: most };
  const answer = useAnswer((signal) => call(`/duplicates${asked(options)}`, { signal }), [kind, within, most, turn]);
  const decided = () => (setTurn(turn + 1), refresh());
  const plan = `/duplicates/plan.csv${asked({ rule, things: kind === "thing" ? "true" : undefined, within: options.within })}`;
  // a second question, as it opens every file of a group; what would stay is marked once it is known
  const kept = useAnswer(answer.value && ((signal) => call(plan, { signal, as: "text" }).then((text) => new Set(rowsOf(text).slice(1).map(([keep]) => keep)))), [plan, Boolean(answer.value), turn]);
  const end = model.threshold.value * 1.5;
  return html`
    <header class="view-head"><h1 tabindex="-1">${t("duplicates.ask")}</h1></header>
    <div class="row duplicates-tools">
      <div class="segments" role="group" aria-label=${t("duplicates.kind")}>
        ${["picture", "thing"].map((one) => html`<button type="button" aria-pressed=${kind === one} onClick=${() => ask({ kind: one === "picture" ? undefined : one, most: undefined }, { replace: false })}>${t(`duplicates.${one}`)}${answer.value ? ` (${count(answer.value.totals[one])})` : ""}</button>`)}
      </div>
      <p class="quiet measure">${t(`duplicates.${kind}-why`)}</p>
    </div>
    <div class="duplicates-set">
      ${kind === "thing" && html`<${Slider} label=${t("duplicates.within")} value=${drawn} low=${0} high=${end} step=${end / 200} said=${far(drawn)} onInput=${settle} />`}
      <div class="field"><label for="keep">${t("duplicates.keep")}</label>
        <select class="input" id="keep" value=${rule} onChange=${(e) => ask({ keep: e.target.value === "largest" ? undefined : e.target.value })}>${RULES.map((one) => html`<option value=${one}>${t(`duplicates.keep-${one}`)}</option>`)}</select></div>
      <a class="button" href=${BASE + plan} download="plan.csv">${t("duplicates.plan")}</a>
    </div>
    <${Computed} answer=${answer} text=${t("duplicates.computing")}>${(value) =>
      value.groups.length
        ? html`<p class="quiet">${t("duplicates.found", { n: value.total, items: value.items })}</p>
          ${value.stricter && html`<p class="measure">${t("duplicates.large", { n: value.large, at: far(value.stricter) })}</p>`}
          <ol class="groups">${value.groups.map((group, place) => html`<${Group} key=${group.members[0].id + group.size} group=${group} place=${place} threshold=${value.threshold.value} kept=${kept.value} onOpen=${setOpen} onLink=${setLink} />`)}</ol>
          ${value.total > value.groups.length && html`<div><button class="button" type="button" onClick=${() => ask({ most: Math.min(200, most + PAGE) })}>${t("map.more", { n: value.total - value.groups.length })}</button></div>`}
          ${kind === "thing" && value.links.length > 0 && html`<${Cuts} links=${value.links} onLink=${setLink} />`}`
        : html`<${Empty} title=${t("duplicates.none")}>${t(`duplicates.none-${kind}`)}<//>`}<//>
    ${link && html`<${Judge} link=${link} model=${model} threshold=${answer.value.threshold.value} onClose=${() => setLink()} onDone=${decided} />`}
    ${open && html`<${Item} hit=${open} onClose=${() => setOpen()} />`}`;
}

/** One group: its members with what differs between them, how wide it is, and its weakest link. */
function Group({ group, place, threshold, kept, onOpen, onLink }) {
  const [all, setAll] = useState(false);
  const { members, weakest } = group;
  const names = [...new Set(members.flatMap(({ metadata }) => Object.keys(metadata)))];
  const differing = names.filter((name) => new Set(members.map(({ metadata }) => metadata[name])).size > 1);
  const wide = group.kind === "same thing" && group.diameter > threshold;
  const pair = weakest ?? { left: members[0].id, right: members[1].id, distance: members[1].distance };
  // what would stay comes first, then the middle and what is nearest to it
  const ranked = kept ? [...members].sort((a, b) => kept.has(b.id) - kept.has(a.id)) : members;
  const items = Object.fromEntries(members.map((one) => [one.id, one.metadata]));
  return html`<li class="group card stack">
    <div class="row group-head">
      <h2>${t("duplicates.group", { place: place + 1, n: group.size })}</h2>
      <span class="quiet number">${t("duplicates.width", { at: far(group.diameter) })}</span>
      ${wide && html`<span class="badge unsure">${t("duplicates.wide")}</span>`}
      <button class="button slim" type="button" onClick=${() => onLink({ ...pair, why: "weakest link of its group", items })}>${t(group.size > 2 ? "duplicates.weakest" : "duplicates.judge", { at: far(pair.distance) })}</button>
    </div>
    <ul class="tiles small-tiles">
      ${(all ? ranked : ranked.slice(0, FEW)).map((one) => html`<li class="tile" key=${one.id}>
        <button class=${`tile-face ${[pair.left, pair.right].includes(one.id) && group.size > 2 ? "weak" : ""}`} type="button" onClick=${() => onOpen(one)}><img src=${thumbnail(one.id)} alt=${named(one.id)} loading="lazy" onLoad=${crisp} onError=${gone} />
          ${kept?.has(one.id) && html`<span class="badge same">${t("duplicates.stays")}</span>`}
          ${[pair.left, pair.right].includes(one.id) && group.size > 2 && html`<span class="badge weak-mark">${t("duplicates.weak")}</span>`}</button>
        <div class="tile-text"><span class="tile-name" title=${one.id}>${named(one.id)}</span>
          ${differing.slice(0, 3).map((name) => html`<span class="quiet" title=${name}>${name}: ${told(one.metadata[name])}</span>`)}</div>
      </li>`)}
    </ul>
    ${members.length > FEW && !all && html`<div><button class="button slim" type="button" onClick=${() => setAll(true)}>${t("map.more", { n: members.length - FEW })}</button></div>`}
  </li>`;
}

/** Where chains were cut: the steps that would join two groups. */
function Cuts({ links, onLink }) {
  return html`<section class="stack cuts"><h2>${t("duplicates.cuts", { n: links.length })}</h2><p class="quiet measure">${t("duplicates.cuts-why")}</p>
    <ul class="cut-list">${links.slice(0, 24).map((one) => html`<li key=${one.left + one.right}><button class="cut" type="button" onClick=${() => onLink({ ...one, why: "would join two groups", items: {} })}>
      <img src=${thumbnail(one.left)} alt=${named(one.left)} loading="lazy" onLoad=${crisp} onError=${gone} /><span class="number small">${far(one.distance)}</span><img src=${thumbnail(one.right)} alt=${named(one.right)} loading="lazy" onLoad=${crisp} onError=${gone} /></button></li>`)}</ul></section>`;
}

/** One pair of a group, close up, to be decided. */
function Judge({ link, model, threshold, onClose, onDone }) {
  const [entered, setEntered] = useState(Boolean(token.get()));
  const answer = async (same) => {
    onClose();
    try {
      const now = await decide(link, same);
      const undo = () => takeBack(link).then(onDone, (problem) => toast(`${problem.title}: ${problem.detail}`));
      toast(changed(same, now, model.threshold.value), { text: t("review.undo"), run: undo });
      onDone();
    } catch (problem) {
      toast(`${problem.title}: ${problem.detail}`);
    }
  };
  const key = (event) => {
    const act = { s: true, d: false }[event.key.toLowerCase()];
    if (act === undefined || !entered || event.target.closest("input")) return;
    answer(act);
  };
  return html`<${Dialog} title=${questionOf(link.why)} wide onClose=${onClose}>
    <div class="stack judge" onKeyDown=${key}>
      <${Pair} one=${{ probability: null, ...link }} items=${link.items} threshold=${threshold} />
      ${!model.writable
        ? html`<p class="quiet">${t("duplicates.read-only")}</p>`
        : entered
          ? html`<div class="review-keys"><button class="button review-same" type="button" onClick=${() => answer(true)}>${t("review.same")}<kbd>S</kbd></button>
              <button class="button review-different" type="button" onClick=${() => answer(false)}>${t("review.different")}<kbd>D</kbd></button></div>`
          : html`<${AskToken} onDone=${() => setEntered(true)} />`}
    </div>
  <//>`;
}
