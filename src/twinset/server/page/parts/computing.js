// Answers that the server computes for longer than a request waits: asked again until they are there.
import { html, useEffect } from "../vendor/preact.js";
import { Answered, Busy } from "./states.js";

/** Ask an answer again some seconds later, as long as `waiting` says so. */
export function useAgain(answer, waiting) {
  useEffect(() => {
    if (!waiting || answer.busy) return;
    const later = setTimeout(answer.again, 3000);
    return () => clearTimeout(later);
  });
}

/** Like `Answered`, but a server that says 503 is still computing: `text` says what. */
export function Computed({ answer, text, children }) {
  const waiting = answer.problem?.status === 503;
  useAgain(answer, waiting);
  if (waiting || (answer.busy && answer.value === undefined)) return html`<${Busy} text=${text} />`;
  return html`<${Answered} answer=${answer}>${children}<//>`;
}
