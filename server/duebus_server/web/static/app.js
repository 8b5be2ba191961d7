/** The frame around the pages: navigation, search, theme, help, and who is signed in. */

import { html, render } from "htm/preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { session, signOut } from "./api.js";
import { live, useLive } from "./live.js";
import { Dialog } from "./parts.js";
import { Actions } from "./pages/actions.js";
import { Engines } from "./pages/engines.js";
import { EventPage } from "./pages/event.js";
import { GroupPage } from "./pages/group.js";
import { Login } from "./pages/login.js";
import { Overview } from "./pages/overview.js";
import { Schedules } from "./pages/schedules.js";
import { TopicPage } from "./pages/topic.js";
import { change, href, place, usePlace } from "./route.js";

/** @typedef {import("./api.js").Session} Session */

const PAGES = /** @type {Record<string, (props: { query: Record<string, string> }) => any>} */ ({
  "": Overview,
  topic: TopicPage,
  group: GroupPage,
  event: EventPage,
  schedules: Schedules,
  engines: Engines,
  actions: Actions,
});

/** What the search of a page finds. From other pages it leads to the topics. */
const SEARCHED = /** @type {Record<string, string>} */ ({ "": "topics", schedules: "schedules" });

function App() {
  const [known, set] = useState(/** @type {Session | "unknown" | "nobody"} */ ("unknown"));
  const ask = () =>
    session().then(
      (found) => {
        set(found);
        live.start();
      },
      () => {},
    );
  useEffect(() => {
    const signedOut = () => {
      live.stop();
      set("nobody");
    };
    window.addEventListener("signed-out", signedOut);
    ask();
    return () => window.removeEventListener("signed-out", signedOut);
  }, []);
  if (known === "unknown") return null;
  if (known === "nobody") return html`<${Login} onSignedIn=${ask} />`;
  return html`<${Frame} session=${known} />`;
}

/** @param {{ session: Session }} props */
function Frame({ session }) {
  const { page, query } = usePlace();
  const [helps, help] = useState(false);
  const search = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [wanted, want] = useState(query.q ?? "");
  useEffect(() => {
    // What is being typed is ahead of the address.
    if (document.activeElement !== search.current) want(page in SEARCHED ? (query.q ?? "") : "");
  }, [page, query.q]);
  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const pressed = (event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (target.closest("input, textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "/") search.current?.focus();
      else if (event.key === "?") help(true);
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
  useEffect(() => {
    document.title = [query.id, query.group, query.topic, "DueBus"].filter(Boolean).join(" · ");
    window.scrollTo(0, 0);
  }, [page, query.topic, query.group, query.id]);
  /** @param {any} event */
  const searched = (event) => {
    const q = event.target.value;
    want(q);
    if (place().page in SEARCHED) change({ q });
    else location.hash = href("", { q });
  };
  const Page = PAGES[page];
  const about = [page, query.engine, query.topic, query.group, query.id].join(" "); // another one begins with nothing
  const label = `Search ${SEARCHED[page] ?? "topics"}`;
  return html`
    <header>
      <a class="brand" href="#/" aria-label="DueBus"><img src="/assets/icon.svg" alt="" width="20" height="20" /><span>DueBus</span></a>
      <nav aria-label="Pages">
        <a href="#/" aria-current=${page === "" ? "page" : undefined}>Topics</a>
        <a href="#/schedules" aria-current=${page === "schedules" ? "page" : undefined}>Schedules</a>
        <a href="#/engines" aria-current=${page === "engines" ? "page" : undefined}>Engines</a>
        <a href="#/actions" aria-current=${page === "actions" ? "page" : undefined}>Actions</a>
      </nav>
      <input ref=${search} type="search" placeholder=${label} aria-label=${label} value=${wanted} onInput=${searched}
        onKeyDown=${(/** @type {any} */ event) => event.key === "Escape" && event.target.blur()} />
      <${Connection} />
      <${Theme} />
      <button class="plain" aria-label="Help" onClick=${() => help(true)}>?</button>
      ${!session.open && html`<button class="plain" title=${session.identity} onClick=${() => signOut().then(() => window.dispatchEvent(new Event("signed-out")))}>Sign out</button>`}
    </header>
    ${Page ? html`<${Page} key=${about} query=${query} />` : html`<main><h1>There is no such page</h1><p><a href="#/">All topics</a></p></main>`}
    ${helps && html`<${Help} onClose=${() => help(false)} />`}`;
}

function Connection() {
  const { isConnected, isLoaded } = useLive();
  const says = isConnected ? "Live" : isLoaded ? "Disconnected" : "Connecting";
  return html`<span class=${`connection ${isConnected ? "good" : "bad"}`} role="status">${says}</span>`;
}

function Theme() {
  const isDark = () =>
    (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const [dark, set] = useState(isDark);
  const toggle = () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
    set(theme === "dark");
  };
  return html`<button class="plain" aria-label=${dark ? "Light theme" : "Dark theme"} onClick=${toggle}>${dark ? "☀" : "☾"}</button>`;
}

/** @param {{ onClose: () => void }} props */
function Help({ onClose }) {
  return html`<${Dialog} title="Help" onClose=${onClose}>
    <dl class="facts">
      <dt><kbd>/</kbd></dt><dd>searches topics, or schedules on their page</dd>
      <dt><kbd>?</kbd></dt><dd>shows this</dd>
      <dt><kbd>Esc</kbd></dt><dd>closes a dialog</dd>
      <dt>Ready</dt><dd>is due, and waits for a subscriber with room</dd>
      <dt>Scheduled</dt><dd>waits for its due time, or for a retry</dd>
      <dt>In flight</dt><dd>is leased to a subscriber, which has not acked it yet</dd>
      <dt>Blocked</dt><dd>waits for an earlier event of the same key</dd>
      <dt>Dead</dt><dd>has used up its retries; kept until it is redriven or purged</dd>
    </dl>
    <div class="buttons"><button class="primary" onClick=${onClose}>Close</button></div>
  <//>`;
}

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
