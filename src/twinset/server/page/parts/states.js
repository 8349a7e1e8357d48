// What is there instead of an answer: it is being made, there is none, or something went wrong.
import { html } from "../vendor/preact.js";
import { t } from "../language.js";
import { Twins } from "./marks.js";

export const Busy = ({ text }) => html`<p class="busy" role="status"><${Twins} ratio=${0.8} />${text || t("busy")}</p>`;

/** Nothing here yet, and what to do about it. */
export const Empty = ({ title, children }) => html`<div class="empty">
  <${Twins} ratio=${1.3} />
  <h2>${title}</h2>
  <div class="quiet measure">${typeof children === "string" ? coded(children) : children}</div>
</div>`;

/** A text with `what is typed` set as such. */
const coded = (text) => text.split("`").map((part, k) => (k % 2 ? html`<code>${part}</code>` : part));

/** A problem as a sentence: what happened, what the server said, and a way on. */
export const Trouble = ({ problem, again }) => html`<div class="problem" role="alert">
  <h2>${problem.title ?? t("problem.own")}</h2>
  ${[401, 403].includes(problem.status) // the title says it all; what the server says is about headers
    ? html`<details class="small"><summary>${t("problem.details")}</summary><p class="measure">${problem.detail}</p></details>`
    : html`<p class="measure">${problem.detail ?? problem.message}</p>`}
  ${again && html`<div><button class="button" type="button" onClick=${again}>${t("again")}</button></div>`}
</div>`;

/** An answer of `useAnswer`, in whichever state it is; `children` draws its value. */
export function Answered({ answer, children }) {
  if (answer.problem) return html`<${Trouble} problem=${answer.problem} again=${answer.again} />`;
  if (answer.value === undefined) return answer.busy ? html`<${Busy} text=${answer.waiting} />` : null;
  return html`<div aria-busy=${Boolean(answer.stale)}>${children(answer.value)}</div>`;
}
