// The threshold that says what it costs: one slider over the hills of same and different.
import { html, useEffect, useState } from "../vendor/preact.js";
import { call, token, useGet } from "../api.js";
import { count, far, percent, rule, t } from "../language.js";
import { costs, hillsOf } from "../parts/curves.js";
import { Dialog, TokenField, Typed } from "../parts/dialog.js";
import { Icon } from "../parts/marks.js";
import { Scale } from "../parts/scale.js";
import { useSlid } from "../parts/slider.js";
import { Answered, Busy, Trouble } from "../parts/states.js";
import { toast } from "../parts/toasts.js";
import { ask, numberOf } from "../router.js";

export const path = "/threshold";
export const title = "threshold.title";
export const icon = "threshold";

export function View({ query, model, index, refresh }) {
  const about = useGet("/threshold");
  const computing = about.value?.computing;
  useEffect(() => {
    // what is left in the collection is counted once, which may take a while: the slider need not wait
    const timer = computing && setTimeout(about.again, 1500);
    return () => clearTimeout(timer);
  }, [about.value]);
  return html`<header class="view-head"><h1 tabindex="-1">${t("threshold.ask")}</h1><p class="quiet measure">${t("threshold.lead")}</p></header>
    <${Answered} answer=${about}>${(told) => html`<${Desk} told=${told} query=${query} model=${model} again=${() => (about.again(), refresh())} />`}<//>`;
}

function Desk({ told, query, model, again }) {
  const own = told.threshold;
  const hills = hillsOf(told);
  const high = hills ? hills.distance.at(-1) : own.value * 2;
  const [at, move] = useSlid(Math.min(high, numberOf(query, "at", own.value)), (to) => ask({ at: Math.abs(to - own.value) < 1e-9 ? undefined : Number(to.toPrecision(5)) }));
  const [saving, setSaving] = useState(false);
  const cost = costs(told, at);
  const said = cost.fmr ? t("threshold.said", { at: far(at), fmr: percent(cost.fmr.share), fnmr: percent(cost.fnmr.share) }) : far(at);
    return html`<div class="stack threshold">
    <section class="card" aria-label=${t("threshold.scale")}>
      <${Scale} curves=${hills} threshold=${at} end=${high} tall=${220} errors label=${t("threshold.scale-said", { said })} />
      <label class="unseen" for="cut">${t("threshold.title")}</label>
      <input class="slider cut-slider" id="cut" type="range" min="0" max=${high} step=${high / 1000} value=${at} aria-valuetext=${said} onInput=${(e) => move(Number(e.target.value))} />
    </section>
    ${cost.fmr ? html`<div class="costs">
      <${Rate} kind="different" name=${t("threshold.fmr")} rate=${cost.fmr} of=${t("threshold.of-different")} />
      <${Rate} kind="same" name=${t("threshold.fnmr")} rate=${cost.fnmr} of=${t("threshold.of-same")} />
      ${(told.index || told.computing) && html`<${Left} cost=${cost} index=${told.index} />`}
    </div>` : html`<p class="quiet measure">${t("threshold.no-curve")}</p>`}
    <section class="stack" aria-label=${t("threshold.places")}>
      <h2>${t("threshold.places")}</h2>
      <ul class="places">
        ${[own, ...(told.alternatives)].map((one, k) => html`<${Place} key=${one.rule} at=${at} value=${one.value} name=${t(k ? "threshold.for" : "threshold.own", { rule: rule(one.rule) })} promised=${promised(told, one)} move=${move} />`)}
        ${told.points.map((one) => html`<${Place} key=${`point ${one.name}`} at=${at} value=${one.threshold} name=${one.name} saved move=${move} onGone=${model.writable && token.get() && (() => drop(one.name, again))} />`)}
      </ul>
      <div class="row">
        ${model.writable && model.has_index && html`<button class="button main" type="button" onClick=${() => setSaving(true)}>${t("threshold.save")}</button>`}
        <p class="small quiet measure">${t(told.curve?.over === "class" ? "threshold.over-class" : "threshold.over-image", { images: own.images ?? 0 })}</p>
      </div>
    </section>
    ${saving && html`<${Save} at=${at} said=${said} onClose=${() => setSaving(false)} onDone=${again} />`}
  </div>`;
}

/** An error rate in percent, with its interval, and as one in so many. */
function Rate({ kind, name, rate, of }) {
  const many = rate.share > 0 ? 1 / rate.share : Infinity;
  return html`<section class=${`card cost ${kind}`}>
    <h2>${name}</h2>
    <p class="big number">${percent(rate.share)}</p>
    <p class="quiet small number">${t("threshold.interval", { low: percent(rate.low), high: percent(rate.high) })}</p>
    <p class="small">${many === Infinity ? t("threshold.never", { of }) : t("threshold.one-in", { n: many < 10 ? Number(many.toFixed(1)) : Math.round(many), of })}</p>
  </section>`;
}

function Left({ cost, index }) {
  if (!index) return html`<section class="card cost"><h2>${t("threshold.left")}</h2><${Busy} text=${t("threshold.counting")} /></section>`;
  return html`<section class="card cost">
    <h2>${t("threshold.left")}</h2>
    <p class="big number">${index.whole ? count(cost.matches) : `≈ ${count(cost.matches)}`}</p>
    <p class="quiet small">${t("threshold.matches", { items: index.items })}</p>
    ${cost.groups !== undefined && html`<p class="small">${t("threshold.groups", { n: cost.groups })}</p>`}
  </section>`;
}

/** What a threshold promises, where that is not what the curve says of it: which pairs chose it matters. */
function promised(told, one) {
  const { fmr, fnmr } = costs(told, one.value);
  if (!fmr || one.fmr == null || one.fnmr == null) return "";
  const rates = { fmr: percent(one.fmr), fnmr: percent(one.fnmr) };
  return rates.fmr === percent(fmr.share) && rates.fnmr === percent(fnmr.share) ? "" : t("threshold.promised", rates);
}

function Place({ at, value, name, promised, saved, move, onGone }) {
  const here = Math.abs(at - value) < 1e-4;
  return html`<li class=${here ? "here" : ""}>
    <button class="place" type="button" aria-pressed=${here} onClick=${() => move(value)}><span class="number">${far(value)}</span><span>${name}${promised && html`<br /><span class="quiet small">${promised}</span>`}</span></button>
    ${onGone && html`<button class="button plain slim" type="button" aria-label=${t("threshold.drop", { name })} onClick=${onGone}><${Icon} name="close" /></button>`}
  </li>`;
}

async function drop(name, again) {
  try {
    await call(`/points/${encodeURIComponent(name)}`, { method: "DELETE", write: true });
    toast(t("threshold.dropped", { name }));
    again();
  } catch (problem) {
    toast(`${problem.title}: ${problem.detail}`);
  }
}

function Save({ at, said, onClose, onDone }) {
  const [name, setName] = useState("");
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState();
  const save = async () => {
    if (secret) token.set(secret);
    try {
      await call("/points", { body: { name, threshold: at }, write: true });
      toast(t("threshold.saved", { name }));
      onDone();
      onClose();
    } catch (found) {
      setProblem(found);
    }
  };
  return html`<${Dialog} title=${t("threshold.save")} onClose=${onClose}><${Typed} onSend=${save}>
    <p class="quiet">${said}</p>
    <div class="field"><label for="point-name">${t("threshold.name")}</label><input class="input" id="point-name" value=${name} placeholder=${t("threshold.name-such")} onInput=${(e) => setName(e.target.value)} /></div>
    <${TokenField} value=${secret} onInput=${setSecret} />
    ${problem && html`<${Trouble} problem=${problem} />`}
    <div class="row"><button class="button main" type="submit" disabled=${!name.trim()}>${t("save")}</button><button class="button plain" type="button" onClick=${onClose}>${t("cancel")}</button></div>
  <//><//>`;
}
