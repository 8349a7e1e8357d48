// The verdict: on a pair as a sentence, on a tile as a badge; the probability at any prior.
import { html } from "../vendor/preact.js";
import { far, percent, rule, t } from "../language.js";
import { useSaid } from "./announce.js";
import { Twins } from "./marks.js";

/** A text with *what matters* marked. */
export const voiced = (text) => text.split("*").map((part, k) => (k % 2 ? html`<em>${part}</em>` : part));

/** A probability told at one prior, at another: odds are multiplied by the ratio of prior odds. */
export function atPrior(probability, from, to) {
  const odds = (p) => p / (1 - p);
  const now = (odds(probability) * odds(to)) / odds(from);
  return Number.isFinite(now) ? now / (1 + now) : 1;
}

/** From the calibrator where there is one: what is rounded to 0 or 1 could not be moved. */
export function probability(verdict, calibrator, prior) {
  if (verdict.probability === null || verdict.probability === undefined) return null;
  if (!calibrator) return atPrior(verdict.probability, verdict.prior, prior);
  const llr = calibrator.slope * verdict.distance + calibrator.intercept;
  return 1 / (1 + Math.exp(-llr - Math.log(prior / (1 - prior))));
}

export const word = (same) => (same ? "same" : "different");

export function Verdict({ verdict }) {
  const { same, distance, threshold } = verdict;
  const reason = t(same ? "verdict.within" : "verdict.beyond", { distance: far(distance), threshold: far(threshold.value) });
  const likely = verdict.probability > 0.5;
  const torn = verdict.probability !== null && verdict.probability !== 0.5 && likely !== same;
  useSaid(`${t(`verdict.${word(same)}`)} ${reason}`);
  return html`<div class=${`verdict ${word(same)}`}>
    <${Twins} ratio=${distance / (threshold.value || 1e-9)} lens=${same} />
    <div class="stack">
      <p class="voice">${voiced(t(`verdict.${word(same)}`))}</p>
      <p class="measure">${reason}
        ${" "}<span class="quiet">${threshold.name ? t("verdict.point", { name: threshold.name }) : t("verdict.rule", { rule: rule(threshold.rule) })}</span></p>
      ${torn && html`<p class="measure quiet">${t(same ? "verdict.torn-same" : "verdict.torn-different")}</p>`}
    </div>
  </div>`;
}

/** Same or not, in the corner of a tile; how probable only beside "same", as "different 0.1%" reads the wrong way. */
export function Badge({ match, decided, probability: share, distance, threshold }) {
  const text = t(match ? "same" : "different");
  const known = share !== null && share !== undefined;
  const said = decided ? t("badge.decided", { verdict: text }) : known && match ? t("badge", { share: percent(share) }) : text;
  return html`<span class=${`badge ${word(match)}`}><${Twins} ratio=${distance / (threshold || 1e-9)} lens=${match} />${said}</span>`;
}
