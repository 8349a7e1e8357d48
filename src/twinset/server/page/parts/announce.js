// What is said aloud when an answer comes: its sentence, not all tiles below it.
import { html, useEffect, useState } from "../vendor/preact.js";

let speak = () => {};

/** Have a text read by a screen reader when it changes. */
export const useSaid = (text) => useEffect(() => speak(text.replaceAll("*", "")), [text]);

export function Announcer() {
  const [text, set] = useState("");
  useEffect(() => {
    speak = set;
  }, []);
  return html`<p class="unseen" role="status">${text}</p>`;
}
