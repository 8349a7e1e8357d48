// Answers that the server computes for longer than a request waits: asked again until they are there.
import { html, useEffect, useRef } from "../vendor/preact.js";
import { Answered, Busy } from "./states.js";

/** Ask an answer again some seconds later, as long as `waiting` says so. */
export function useAgain(answer, waiting) {
  useEffect(() => {
    if (!waiting || answer.busy) return;
    const later = setTimeout(answer.again, 3000);
    return () => clearTimeout(later);
  });
}

/** Like `Answered`, but a server that says 202 is still computing: `text` says what. */
export function Computed({ answer, text, children }) {
  const waiting = answer.problem?.status === 202;
  useAgain(answer, waiting);
  // while it is asked again, how far it was stays in sight
  const last = useRef(null);
  last.current = answer.problem ? answer.problem.share : answer.busy ? last.current : null;
  const told = last.current === null || last.current === undefined ? text : `${text} ${Math.floor(100 * last.current)} %`;
  if (waiting || (answer.busy && answer.value === undefined)) return html`<${Busy} text=${told} />`;
  return html`<${Answered} answer=${answer}>${children}<//>`;
}
