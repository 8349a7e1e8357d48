// Review: the pairs most worth a decision, one at a time, answered by a key or a thumb.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { image, thumbnail, token, useAnswer, call } from "../api.js";
import { far, percent, t, told } from "../language.js";
import { useSaid } from "../parts/announce.js";
import { Computed } from "../parts/computing.js";
import { AskToken, changed, decide, takeBack } from "../parts/decide.js";
import { crisp } from "../parts/pictures.js";
import { Empty, Trouble } from "../parts/states.js";
import { csv, save } from "../parts/table.js";
import { named } from "../parts/tile.js";

export const path = "/review";
export const title = "review.title";
export const icon = "review";
export const needs = "items";

const MANY = 50;

export function View({ query, model, refresh }) {
  const size = Number(query.get("count")) || MANY;
  const [round, setRound] = useState(0);
  const review = useAnswer((signal) => call(`/review?count=${size}`, { signal }), [size, round]);
  const [entered, setEntered] = useState(Boolean(token.get()));
  const [asking, setAsking] = useState(); // why the pair in sight is asked about
  const next = () => (setRound(round + 1), refresh());
  return html`
    <header class="view-head review-head"><h1 tabindex="-1">${questionOf(asking)}</h1></header>
    ${model.writable && !entered
      ? html`<${AskToken} onDone=${() => setEntered(true)} />`
      : html`<${Computed} answer=${review} text=${t("review.computing")}>
          ${(value) =>
            value.questions.length
              ? html`<${Questions} key=${round} review=${value} model=${model} onAsk=${setAsking} onNext=${next} onDenied=${() => (setEntered(false), setRound(round + 1))} />`
              : html`<${Empty} title=${t("review.none")}>${t("review.none-why")}<//>`}<//>`}`;
}

/** Why a pair is asked about: the server's words are English, so the known ones are said anew. */
export function whyOf(text) {
  const [what, ...rest] = text.split(": ");
  const known = { "weakest link of its group": "weakest", "would join two groups": "join", "recorded as different": "recorded", "near the threshold": "near" }[what];
  return known ? t(`review.why.${known}`, { name: rest.join(": ") }).replace(" ()", "") : text;
}

/** The one question about a pair: a group that has a name is asked about by it. */
export function questionOf(text = "") {
  const [what, ...rest] = text.split(": ");
  return what === "weakest link of its group" && rest.length ? t("review.ask-both", { name: rest.join(": ") }) : t("review.ask");
}

function Questions({ review, model, onAsk, onNext, onDenied }) {
  const { questions, items } = review;
  const [answers, setAnswers] = useState({}); // place → true, false, or null for skipped
  const [trail, setTrail] = useState([]); // places in the order in which they were answered
  const [said, setSaid] = useState("");
  const [problem, setProblem] = useState();
  const threshold = useRef(model.threshold.value);
  const at = questions.findIndex((_, place) => !(place in answers));
  const one = questions[at];
  const decided = Object.values(answers).filter((answer) => answer !== null).length;

  const answered = (same) => {
    if (!one) return;
    const place = at;
    setAnswers((old) => ({ ...old, [place]: same }));
    setTrail((old) => [...old, place]);
    setProblem(undefined);
    if (same === null) return setSaid(t("review.skipped"));
    if (!model.writable) return setSaid(t("review.kept-here"));
    setSaid(t("review.saving"));
    // the next pair is there at once; should it not be kept, this one comes back
    decide(one, same).then((now) => {
      setSaid(changed(same, now, threshold.current));
      threshold.current = now.value;
    }, (found) => (forget(place), setProblem(found), setSaid(""), found.status === 401 && onDenied()));
  };
  const forget = (place) => {
    setAnswers(({ [place]: _, ...rest }) => rest);
    setTrail((old) => old.filter((each) => each !== place));
  };
  const undo = () => {
    const place = trail.at(-1);
    if (place === undefined) return;
    const before = answers[place];
    forget(place);
    if (before === null || !model.writable) return setSaid(t("decide.undone"));
    takeBack(questions[place]).then((now) => {
      setSaid(changed(undefined, now, threshold.current));
      threshold.current = now.value;
    }, (found) => (setAnswers((old) => ({ ...old, [place]: before })), setTrail((old) => [...old, place]), setProblem(found)));
  };
  const keys = { s: () => answered(true), d: () => answered(false), " ": () => answered(null), arrowright: () => answered(null), u: undo };
  const now = useRef();
  now.current = keys;
  // before the pair is seen, not after: a quick key would be lost
  useLayoutEffect(() => {
    const press = (event) => {
      const act = now.current[event.key.toLowerCase()];
      // a held key would answer what nobody has seen; a shortcut of the browser is none of ours
      if (!act || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest("input, select, textarea, dialog") || (event.key === " " && event.target.closest("button, a, summary"))) return;
      event.preventDefault();
      act();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  useEffect(() => {
    onAsk(one?.why);
    const after = questions[at + 1];
    if (after) for (const id of [after.left, after.right]) new Image().src = image(id);
  }, [at]);
  useSaid(one ? `${said} ${t("review.place", { n: at + 1, of: questions.length })}` : t("review.done"));

  const table = () => csv([["left", "right", "same", "distance", "probability", "why"], ...questions.map((q, place) => [q.left, q.right, answers[place] === undefined || answers[place] === null ? "" : Number(answers[place]), q.distance, q.probability, q.why])]);
  return html`<div class="review">
    <div class="review-top">
      <progress class="review-progress" max=${questions.length} value=${Object.keys(answers).length} aria-label=${t("review.progress")}></progress>
      <span class="number small">${t("review.place", { n: Math.min(at < 0 ? questions.length : at + 1, questions.length), of: questions.length })}</span>
      <button class="button plain slim" type="button" onClick=${() => save("decisions.csv", table())}>${t("review.save")}</button>
    </div>
    ${one
      ? html`<${Pair} one=${one} items=${items} key=${at} threshold=${threshold.current} />`
      : html`<div class="card stack"><h2>${t("review.done")}</h2><p>${t("review.decided", { n: decided })}</p>
          <div class="row"><button class="button main" type="button" onClick=${onNext}>${t("review.more")}</button></div></div>`}
    ${problem && html`<${Trouble} problem=${problem} />`}
    <div class="review-bar">
      <p class=${`review-said small ${!said && model.writable ? "keys" : ""}`}>${said || t(model.writable ? "review.keys" : "review.read-only")}</p>
      <div class="review-keys">
        <button class="button review-same" type="button" disabled=${!one} onClick=${keys.s}>${t("review.same")}<kbd>S</kbd></button>
        <button class="button review-different" type="button" disabled=${!one} onClick=${keys.d}>${t("review.different")}<kbd>D</kbd></button>
        <button class="button" type="button" disabled=${!one} onClick=${keys[" "]}>${t("review.skip")}<kbd>${t("review.space")}</kbd></button>
        <button class="button" type="button" disabled=${!trail.length} onClick=${undo}>${t("review.undo")}<kbd>U</kbd></button>
      </div>
    </div>
  </div>`;
}

/** Both pictures of a pair, as large as there is room for, and what differs in what is known of them. */
export function Pair({ one, items, threshold }) {
  const sides = [one.left, one.right];
  const known = sides.map((id) => items[id] ?? {});
  const names = [...new Set(known.flatMap(Object.keys))].filter((name) => known[0][name] !== known[1][name]);
  return html`<div class="stack review-pair">
    <p class="row"><span>${whyOf(one.why)}</span>
      <span class="quiet number">${one.probability !== null && `${t("likely", { share: percent(one.probability) })} · `}
      ${t("review.distance", { at: far(one.distance), threshold: far(threshold) })}</span></p>
    <div class="review-images">
      ${sides.map((id, side) => html`<figure key=${id}>
        <img src=${image(id)} alt=${named(id)} onLoad=${crisp} onError=${(e) => e.target.src.includes("thumbnails") || (e.target.src = thumbnail(id, 640))} />
        <figcaption class="small"><a href=${`./search?${new URLSearchParams({ item: id })}`} title=${id}>${named(id)}</a>
          ${names.slice(0, 4).map((name) => html`<span class="quiet">${name}: ${told(known[side][name])}</span>`)}</figcaption>
      </figure>`)}
    </div>
  </div>`;
}
