// The address is the state: a view is its path, what one sees is its query, and both can be sent.
import { useEffect, useState } from "./vendor/preact.js";

// Where the page is mounted, such as "/twins" in another application; mostly "".
const ROOT = new URL(".", import.meta.url).pathname.slice(0, -1);
const listeners = new Set();
const here = () => location.pathname.slice(ROOT.length);
const tell = () => listeners.forEach((one) => one());
addEventListener("popstate", tell);

/** Go to another address of the page; the same view with another query keeps its place. */
export function go(address, { replace = false } = {}) {
  if (address === here() + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", ROOT + address);
  tell();
}

/** A number of the query, 0 too; what is none, or not there, is `otherwise`. */
export function numberOf(query, name, otherwise) {
  const found = Number(query.get(name) || NaN);
  return Number.isFinite(found) ? found : otherwise;
}

/** The address as a person sees it: `{path, query}`; a component that uses it is drawn anew when it changes. */
export function useAddress() {
  const read = () => here() + location.search;
  const [, set] = useState(read());
  useEffect(() => {
    const look = () => set(read());
    listeners.add(look);
    return () => listeners.delete(look);
  }, []);
  return { path: here(), query: new URLSearchParams(location.search) };
}

/**
 * Change some values of the query, and leave the others: undefined, null and "" take a value away, a list
 * gives several. A slider replaces the entry in the history; what one would want to go back from adds one.
 */
export function ask(changes, { replace = true } = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") query.append(name, one);
    }
  }
  const text = query.toString();
  go(here() + (text ? `?${text}` : ""), { replace });
}

// Links are links: they open in a new tab when asked to, and else change the view without a reload.
addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const to = new URL(link.href);
  const path = to.pathname.startsWith(`${ROOT}/`) && to.pathname.slice(ROOT.length);
  if (to.origin !== location.origin || link.target || link.hasAttribute("download") || !path || path.startsWith("/api/") || to.hash) return;
  event.preventDefault();
  go(path + to.search);
});
