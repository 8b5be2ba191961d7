/**
 * The address of what is shown: #/page?name=value, so that it can be shared.
 *
 * @typedef {{ page: string, query: Record<string, string> }} Place
 */

import { useEffect, useState } from "preact/hooks";

/** @returns {Place} */
export function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { page: path, query: Object.fromEntries(new URLSearchParams(query)) };
}

/** The address of a page. What is empty is left out. @param {string} page @param {Record<string, string>} [query] */
export function href(page, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  return `#/${page}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

/** The same page with other values. @param {Record<string, string>} changes */
export function change(changes) {
  const { page, query } = place();
  history.replaceState(null, "", href(page, { ...query, ...changes }));
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

/** What the address says now. */
export function usePlace() {
  const [found, set] = useState(place);
  useEffect(() => {
    const again = () => set(place());
    window.addEventListener("hashchange", again);
    return () => window.removeEventListener("hashchange", again);
  }, []);
  return found;
}
