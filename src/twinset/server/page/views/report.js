// Report: the model's card, and the evaluation page that came with it.
import { html } from "../vendor/preact.js";
import { t } from "../language.js";
import { Empty } from "../parts/states.js";

export const path = "/report";
export const title = "report.title";
export const icon = "report";

export function View({ model }) {
  return html`<header class="view-head"><h1 tabindex="-1">${t("report.ask")}</h1></header>
    ${model.has_report
      ? html`<iframe class="report" src="/api/v1/report" sandbox="" title=${t("report.frame")}></iframe>`
      : html`<${Empty} title=${t("report.none")}>${t("report.none.do")}<//>`}`;
}
