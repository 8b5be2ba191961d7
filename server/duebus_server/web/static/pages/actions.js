/** What operators did: the latest actions of each engine. */

import { html } from "htm/preact";
import { useEffect } from "preact/hooks";
import { actions as askActions } from "../api.js";
import { ago, counted, moment } from "../format.js";
import { useLive } from "../live.js";
import { Empty, Table, useAnswer } from "../parts.js";
import { change, href } from "../route.js";

/** @typedef {import("../api.js").Action} Action */

const AGAIN_MS = 5_000;

/** The name of an RPC in words: "PauseGroup" is "Pause group". @param {string} verb */
function words(verb) {
  const split = verb.replace(/(?!^)([A-Z])/g, " $1").toLowerCase();
  return split.charAt(0).toUpperCase() + split.slice(1);
}

/** @param {Action} action @param {string} text */
function matches(action, text) {
  const all = [words(action.verb), action.identity, action.topic, action.group, action.subject, action.outcome];
  return all.join(" ").toLowerCase().includes(text.toLowerCase());
}

/** @param {{ query: Record<string, string> }} props */
export function Actions({ query }) {
  const live = useLive();
  const { text = "" } = query;
  const answer = useAnswer(askActions, []);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || answer.again(), AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  const all = answer.value ?? [];
  const found = all.filter((each) => matches(each, text));
  const several = new Set(all.map((each) => each.engine)).size > 1;
  return html`<main>
    <h1>Actions</h1>
    <form class="filter" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <label>Filter <input type="search" value=${text} placeholder="who, what, topic" onInput=${(/** @type {any} */ event) => change({ text: event.target.value })} /></label>
      <span class="muted">${text ? `${counted(found.length, "action")} of ${all.length}` : counted(all.length, "action")}</span>
    </form>
    ${answer.problem && html`<p class="problem" role="alert">${answer.problem}</p>`}
    ${answer.value && all.length === 0 && html`<${Empty}>Nobody has changed anything yet. The last 1,000 actions of each engine are kept.<//>`}
    ${all.length > 0 && found.length === 0 && html`<${Empty}>No action matches “${text}”.<//>`}
    ${found.length > 0 && html`<${Table} label="Actions">
      <thead><tr><th>When</th><th>Who</th><th>What</th><th>On</th><th>Which</th><th>Result</th><th>From</th></tr></thead>
      <tbody>${found.map((each) => html`<tr>
        <td class="time" title=${moment(each.at)}>${ago(each.at, live.now())}</td>
        <td>${each.identity || html`<span class="muted">anyone</span>`}</td>
        <th scope="row">${words(each.verb)}${several && html` <span class="tag">${each.engine}</span>`}</th>
        <td><${On} action=${each} /></td>
        <td>${each.subject}</td>
        <td class=${each.outcome === "OK" ? "good" : "bad"}>${each.outcome === "OK" ? "done" : words(each.outcome.toLowerCase().replaceAll("_", " "))}</td>
        <td><code>${each.peer}</code></td>
      </tr>`)}</tbody>
    <//>`}
  </main>`;
}

/** @param {{ action: Action }} props */
function On({ action }) {
  const { engine, topic, group } = action;
  const at = group ? href("group", { engine, topic, group }) : href("topic", { engine, topic });
  return topic && html`<a href=${at}>${topic}${group && html`<span class="slash">/</span>${group}`}</a>`;
}
