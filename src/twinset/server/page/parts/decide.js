// Decisions of a person about pairs: sent in the order in which they were made, and taken back.
import { html, useState } from "../vendor/preact.js";
import { call, token } from "../api.js";
import { t } from "../language.js";
import { TokenField } from "./dialog.js";
import { Trouble } from "./states.js";

let last = Promise.resolve();
const queued = (ask) => (last = last.then(ask, ask));

/** Keep what somebody decided: `pair` is {left, right, why}. */
export const decide = (pair, same) =>
  queued(() => call("/decisions", { body: [{ left: pair.left, right: pair.right, same, why: pair.why ?? "" }], write: true }));

export const takeBack = (pair) =>
  queued(() => call("/decisions/undo", { body: [{ left: pair.left, right: pair.right }], write: true }));

/** What a decision changed, in a sentence: the groups from now on, and the threshold where it moved. */
export function changed(same, told, before) {
  const moved = before !== undefined && Math.abs(told.value - before) > 1e-9;
  return [
    same === undefined ? t("decide.undone") : t(same ? "decide.same" : "decide.different"),
    ...(told.replaced && same !== undefined ? [t("decide.replaced")] : []),
    moved ? t("decide.moved", { from: before.toPrecision(4), to: told.value.toPrecision(4) }) : t("decide.stays"),
    ...told.contradictions,
  ].join(" ");
}

/** Asks for the token, once in a tab, before the first decision. */
export function AskToken({ onDone }) {
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState();
  const enter = async (event) => {
    event.preventDefault();
    token.set(secret);
    try {
      // an empty list changes nothing, and tells whether the token is right
      await call("/decisions", { body: [], write: true });
      onDone();
    } catch (found) {
      token.set("");
      setProblem(found);
    }
  };
  return html`<form class="stack card ask-token" onSubmit=${enter}>
    <h2>${t("decide.token")}</h2>
    <${TokenField} value=${secret} onInput=${setSecret} />
    ${problem && html`<${Trouble} problem=${problem} />`}
    <div><button class="button main" type="submit" disabled=${!secret}>${t("decide.enter")}</button></div>
  </form>`;
}
