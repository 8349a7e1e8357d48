// Which threshold counts: the model's own, or an operating point that somebody named.
import { html } from "../vendor/preact.js";
import { far, rule, t } from "../language.js";

/** What can be chosen: `{key, name, threshold}` each; a model's other rules only where the page itself judges. */
export const pointsOf = (index, model) => [
  ...(model?.alternatives ?? []).map((one) => ({ key: one.rule, name: t("threshold.for", { rule: rule(one.rule) }), threshold: one.value })),
  ...(index?.points ?? []).map((one) => ({ key: one.name, name: one.name, threshold: one.threshold })),
];

export function PointChoice({ points, value, onChoose }) {
  if (!points.length) return null;
  return html`<div class="field"><label for="point">${t("search.point")}</label>
    <select class="input" id="point" value=${value ?? ""} onChange=${(e) => onChoose(e.target.value)}>
      <option value="">${t("search.point-own")}</option>
      ${points.map((one) => html`<option value=${one.key}>${far(one.threshold)} · ${one.name}</option>`)}
    </select></div>`;
}
