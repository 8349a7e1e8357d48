// The address is the state: a view is its path, what one sees is its query, and both can be sent.
import { useEffect, useState } from "./vendor/preact.js";

const listeners = new Set();
const tell = () => listeners.forEach((one) => one());
addEventListener("popstate", tell);

/** Go to another address of the page; the same view with another query keeps its place. */
export function go(address, { replace = false } = {}) {
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  tell();
}

/** The address as a person sees it: `{path, query}`; a component that uses it is drawn anew when it changes. */
export function useAddress() {
  const read = () => location.pathname + location.search;
  const [, set] = useState(read());
  useEffect(() => {
    const look = () => set(read());
    listeners.add(look);
    return () => listeners.delete(look);
  }, []);
  return { path: location.pathname, query: new URLSearchParams(location.search) };
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
  go(location.pathname + (text ? `?${text}` : ""), { replace });
}

// Links are links: they open in a new tab when asked to, and else change the view without a reload.
addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const to = new URL(link.href);
  if (to.origin !== location.origin || link.target || link.hasAttribute("download") || to.pathname.startsWith("/api/") || to.hash) return;
  event.preventDefault();
  go(to.pathname + to.search);
});
