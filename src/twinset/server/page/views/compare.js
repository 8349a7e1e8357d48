// Compare: two images in, the verdict as a sentence, and all that it rests on.
import { html, useState } from "../vendor/preact.js";
import { call, form, useAnswer, useGet } from "../api.js";
import { far, percent, t } from "../language.js";
import { Picker } from "../parts/collection.js";
import { hillsOf } from "../parts/curves.js";
import { Drop } from "../parts/drop.js";
import { Icon } from "../parts/marks.js";
import { Overlay } from "../parts/overlay.js";
import { keep, keptAt, ofItem } from "../parts/pictures.js";
import { PointChoice, pointsOf } from "../parts/points.js";
import { Scale } from "../parts/scale.js";
import { Slider, useSlid } from "../parts/slider.js";
import { Answered, Empty } from "../parts/states.js";
import { Verdict, probability } from "../parts/verdict.js";
import { ask } from "../router.js";

export const path = "/compare";
export const title = "compare.title";
export const icon = "compare";

const SIDES = ["left", "right"];

// An item is in the address; a file cannot be, and is kept while the tab lives.
const given = (query, side) => (query.has(side) ? ofItem(query.get(side)) : keptAt(side));

export const pair = (pictures) =>
  form(Object.fromEntries(SIDES.map((side, k) => (pictures[k].item ? [`${side}_item`, pictures[k].item] : [side, pictures[k].file]))));

/** A prior by the place of its slider: even steps of log-odds, from 1 in 1,000 to 999 in 1,000. */
const toPrior = (logit) => 1 / (1 + 10 ** -logit);
const toLogit = (prior) => Math.log10(prior / (1 - prior));

export function View({ query, model, index }) {
  const [, redraw] = useState(0);
  const pictures = SIDES.map((side) => given(query, side));
  const why = query.has("why");
  const give = (side, [picture]) => {
    keep(side, picture?.item ? undefined : picture);
    ask({ [side]: picture?.item });
    redraw((n) => n + 1);
  };
  const put = (side) => (found) => {
    give(side, found);
    // two at once fill both places
    if (found.length > 1) give(SIDES.find((other) => other !== side), found.slice(1));
  };
  const swap = () => SIDES.map((side, k) => [side, pictures[1 - k]]).forEach(([side, picture]) => give(side, [picture]));
  const both = pictures.every(Boolean);
  const inputs = pictures.map((one) => one?.file ?? one?.item);
  const answer = useAnswer(both && ((signal, onWait) => call("/compare", { body: pair(pictures), signal, onWait })), inputs);
  const reasons = useAnswer(both && why && ((signal, onWait) => call("/explain", { body: pair(pictures), signal, onWait })), [...inputs, why]);
  const points = pointsOf(index, model);
  const verdict = both && answer.value && judged(answer.value, points.find((one) => one.key === query.get("point")));

  return html`
    <header class="view-head"><h1 tabindex="-1">${t("compare.ask")}</h1></header>
    ${model.input.kind === "vectors" && html`<${Empty} title=${t("compare.vectors")}>${t("compare.vectors-do")}<//>`}
    <div class="pair">
      ${SIDES.map((side, k) => html`<${Drop} key=${side} label=${t(`compare.${side}`)} input=${model.input} picture=${pictures[k]} more=${model.has_index && html`<${Picker} onGive=${put(side)} />`} onGive=${put(side)} onClear=${() => give(side, [])}
        overlay=${both && why && reasons.value && html`<${Overlay} explanation=${reasons.value} side=${side} input=${model.input} />`} />`)}
      ${both && html`<button class="button slim pair-swap" type="button" aria-label=${t("compare.swap")} title=${t("compare.swap")} onClick=${swap}><${Icon} name="swap" /></button>`}
    </div>
    <section class="answer" aria-label=${t("compare.title")}>
      ${both
        ? html`<${Answered} answer=${answer}>${() => html`<${Verdict} verdict=${verdict} />`}<//>`
        : html`<p class="quiet">${t(pictures.some(Boolean) ? "compare.one-more" : "compare.two")}</p>`}
    </section>
    ${verdict && html`<div class="grounds" aria-busy=${Boolean(answer.stale)}>
      <${Where} verdict=${verdict} points=${points} query=${query} />
      <${Odds} verdict=${verdict} model=${model} query=${query} />
      <${Why} answer=${reasons} open=${why} />
    </div>`}`;
}

/** The same distance, judged by another threshold: that takes no model. */
const judged = (verdict, point) =>
  point ? { ...verdict, same: verdict.distance <= point.threshold, threshold: { value: point.threshold, name: point.name } } : verdict;

function Where({ verdict, points, query }) {
  const about = useGet("/threshold?counts=false"); // what it leaves of the collection is not asked
  const { distance, threshold, same } = verdict;
  const hills = hillsOf(about.value);
  return html`<section class="card stack">
    <h2>${t("compare.scale")}</h2>
    <${Scale} curves=${hills} threshold=${threshold.value} distance=${distance} kind=${same ? "same" : "different"}
      label=${t("compare.scale-said", { distance: far(distance), threshold: far(threshold.value) })} />
    <${PointChoice} points=${points} value=${query.get("point")} onChoose=${(key) => ask({ point: key })} />
    ${hills && html`<p class="small quiet measure">${t("compare.hills")}</p>`}
  </section>`;
}

function Odds({ verdict, model, query }) {
  const [logit, move] = useSlid(toLogit(Number(query.get("prior")) || model.prior || 0.5), (to) => ask({ prior: Number(toPrior(to).toPrecision(3)) }));
  const prior = toPrior(logit);
  const share = probability(verdict, model.calibrator, prior);
  if (share === null) return html`<section class="card"><p class="quiet">${t("compare.uncalibrated")}</p></section>`;
  return html`<section class="card stack">
    <h2>${t("compare.probability")}</h2>
    <p class="big number" aria-live="polite">${percent(share)}</p>
    <${Slider} label=${t("compare.prior")} said=${t("compare.prior-said", { share: percent(prior) })} low=${-3} high=${3} step=${0.05} value=${logit} onInput=${move} />
  </section>`;
}

function Why({ answer, open }) {
  return html`<section class="why stack">
    <div><button class="button" type="button" aria-expanded=${open} onClick=${() => ask({ why: open ? undefined : "1" })}>${t(open ? "compare.why-hide" : "compare.why")}</button></div>
    ${open && html`<${Answered} answer=${answer}>${(found) => html`<div class="stack">
      ${found.telling ? html`<ul class="row legend small"><li class="agree">${t("compare.agree")}</li><li class="differ">${t("compare.differ")}</li></ul>` : html`<p>${t("compare.plain")}</p>`}
      <p class="small quiet measure">${t("compare.caveat")}</p>
    </div>`}<//>`}
  </section>`;
}
