// Report: the model's card as a page to read, and the evaluation that came with it.
import { html } from "../vendor/preact.js";
import { BASE } from "../api.js";
import { far, has, megabytes, percent, rule, t } from "../language.js";
import { Empty } from "../parts/states.js";

export const path = "/report";
export const title = "report.title";
export const icon = "report";

const MANY = 24; // classes that are named

export function View({ model }) {
  return html`<header class="view-head"><h1 tabindex="-1">${t("report.ask")}</h1></header>
    <div class="sheet">
      <section class="card stack"><h2>${t("report.card")}</h2><${Facts} model=${model} /></section>
      <section class="card stack"><h2>${t("report.promises")}</h2><${Promises} model=${model} />
        <h2>${t("report.limits")}</h2>
        <p class="small">${t("report.limits-said", { size: megabytes(model.limits.image_bytes), pixels: Math.round(model.limits.image_pixels / 1e6) })} ${t(model.writable ? "report.write" : "report.read-only")}</p>
      </section>
    </div>
    ${model.has_report
      ? html`<section class="stack"><div class="row"><h2>${t("report.frame")}</h2><a class="small" href=${`${BASE}/report`} target="_blank" rel="noreferrer">${t("report.open")}</a></div>
          <iframe class="report" src=${`${BASE}/report`} sandbox="" title=${t("report.frame")}></iframe></section>`
      : html`<${Empty} title=${t("report.none")}>${t("report.none.do")}<//>`}`;
}


function Facts({ model }) {
  const { input, trained_on: data, class_names: names = [] } = model;
  const [height, width, colours] = input.shape ?? [];
  const shown = names.slice(0, MANY);
  return html`<dl class="facts">
      <dt>${t("report.name")}</dt><dd>${model.name}</dd>
      <dt>${t("report.trained")}</dt><dd>${t("report.images", { data: data.name, n: data.images })}</dd>
      ${input.kind === "images" && html`<dt>${t("report.input")}</dt><dd>${t("report.input-said", { width, height, colour: t(colours ? "report.colour" : "report.grey"), resize: t(`report.${input.resize}`) })}</dd>`}
      <dt>${t("report.embedding")}</dt><dd>${t("report.embedding-said", { distance: has(`distance.${model.distance}`) ? t(`distance.${model.distance}`) : model.distance, dim: model.dim })}</dd>
      <dt>${t("report.probability")}</dt><dd>${t(model.calibrated ? "report.calibrated" : "compare.uncalibrated")}</dd>
      ${model.provenance?.length > 0 && html`<dt>${t("report.provenance")}</dt><dd>${model.provenance.map((one) => one.name ?? one.source).join(", ")}</dd>`}
      <dt>${t("report.digest")}</dt><dd>${model.digest.slice(0, 16)}</dd>
    </dl>
    ${names.length > 0 && html`<div class="stack"><h3>${t("report.classes", { n: names.length })}</h3>
      <ul class="words">${shown.map((name) => html`<li>${name}</li>`)}${names.length > MANY && html`<li>${t("report.more", { n: names.length - MANY })}</li>`}</ul></div>`}`;
}

/** Each threshold with its promised rates. */
function Promises({ model }) {
  const rate = (share, range) => (share === null || share === undefined ? "–" : html`${percent(share)}${range && html`<br /><span class="quiet small">${percent(range[0])} – ${percent(range[1])}</span>`}`);
  return html`<div class="across" tabindex="0" role="region" aria-label=${t("report.promises")}><table class="table">
    <thead><tr><th scope="col">${t("report.threshold")}</th><th scope="col">${t("threshold.fmr")}</th><th scope="col">${t("threshold.fnmr")}</th></tr></thead>
    <tbody>${[model.threshold, ...model.alternatives].map((one) => html`<tr key=${one.rule}><th scope="row"><strong>${far(one.value)}</strong><br />${t("threshold.for", { rule: rule(one.rule) })}</th><td>${rate(one.fmr, one.fmr_range)}</td><td>${rate(one.fnmr, one.fnmr_range)}</td></tr>`)}</tbody>
  </table></div>`;
}
