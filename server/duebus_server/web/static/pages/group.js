/** One group: its events by state, its dead letters by error, its keys and subscribers. */

import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { call, engineName } from "../api.js";
import { ago, bytes, count, counted, seconds, text } from "../format.js";
import { useLive } from "../live.js";
import { Ask, Empty, Table, useAnswer, useLast, useRights } from "../parts.js";
import { change, href } from "../route.js";
import { troubles } from "../trouble.js";
import { DeadLetters } from "./dead.js";
import { OneTrouble } from "./overview.js";
import { Configure } from "./topic.js";

/** @typedef {import("../live.js").Group} Group */
/** @typedef {{ engine: string, topic: string, group: string }} Where */

const STATES = /** @type {const} */ ([
  ["ready", "Ready"],
  ["scheduled", "Scheduled"],
  ["leased", "In flight"],
  ["blocked", "Blocked"],
  ["dead", "Dead"],
]);
const PAGE = 50;
const SHOWN_BYTES = 120;

/** @param {{ query: Record<string, string> }} props */
export function GroupPage({ query }) {
  const { engine = "", topic = "", group = "" } = query;
  const live = useLive();
  const rights = useRights(topic);
  const [open, set] = useState("");
  const now = live.find(engine, topic);
  const found = useLast(now?.groups.some((each) => each.group === group) ? now : undefined, open !== "");
  const info = found?.groups.find((each) => each.group === group);
  const config = useAnswer(async () => {
    const answer = await call("EventBusAdmin/GetTopic", { engine: engineName(engine), topic });
    const own = answer.topic.groups?.find((/** @type {any} */ each) => (each.group ?? "") === group);
    return { ...answer.topic.config, retryPolicy: own?.retryPolicy };
  }, [engine, topic, group]);
  if (!found || !info) {
    return html`<main><h1>${topic} / ${group}</h1><${Empty}>${live.isLoaded ? "There is no such group." : "Connecting …"}<//></main>`;
  }
  const show = query.show || (info.dead ? "dead" : info.ready ? "ready" : info.leased ? "leased" : "scheduled");
  const where = { engine, topic, group };
  const request = { engine: engineName(engine), topic, group };
  const close = () => {
    set("");
    config.again();
  };
  const total = STATES.reduce((sum, [state]) => sum + info[state], 0);
  const trouble = troubles(found, live.now()).filter((each) => each.group === group);
  return html`<main>
    <div class="heading">
      <h1><a href=${href("topic", { engine, topic })}>${topic}</a><span class="slash">/</span>${group || "no group yet"}</h1>
      ${rights.has("admin") && group && html`<div class="buttons">
        <button onClick=${() => set(info.paused ? "resume" : "pause")}>${info.paused ? "Resume" : "Pause"}</button>
        <button onClick=${() => set("configure")}>Configure</button>
        <button class="danger" onClick=${() => set("delete")}>Delete</button>
      </div>`}
    </div>
    ${trouble.length > 0 && html`<ul class="troubles">${trouble.map((each) => html`<${OneTrouble} trouble=${each} several=${false} />`)}</ul>`}
    <nav class="tabs" aria-label="What to show">
      ${STATES.map(([state, title]) => html`<${Tab} name=${state} show=${show} where=${where} title=${title} number=${info[state]} />`)}
      <${Tab} name="keys" show=${show} where=${where} title="Keys" />
      <${Tab} name="subscribers" show=${show} where=${where} title="Subscribers" number=${info.subscribers} />
    </nav>
    ${show === "keys" && html`<${Keys} where=${where} info=${info} />`}
    ${show === "subscribers" && html`<${Subscribers} where=${where} info=${info} />`}
    ${show === "dead" && html`<${DeadLetters} where=${where} dead=${info.dead} query=${query} rights=${rights} />`}
    ${show !== "keys" && show !== "subscribers" && html`<${Events} where=${where} state=${show} number=${info[/** @type {"ready"} */ (show)]} query=${query} rights=${rights} />`}
    ${open === "pause" && html`<${Ask} title=${`Pause ${group}?`} action=${`Pause ${group}`} onClose=${close} run=${() => call("EventBusAdmin/PauseGroup", request).then(() => {})}>
      <p>Nothing more is delivered to ${group} of ${topic} until it is resumed. Its events keep waiting, and what is in flight may still be acked.</p>
    <//>`}
    ${open === "resume" && html`<${Ask} title=${`Resume ${group}?`} action=${`Resume ${group}`} onClose=${close} run=${() => call("EventBusAdmin/ResumeGroup", request).then(() => {})}>
      <p>${counted(info.ready, "event")} ${info.ready === 1 ? "is" : "are"} ready to be delivered.</p>
    <//>`}
    ${open === "configure" && config.value && html`<${Configure} engine=${engine} topic=${topic} group=${group} config=${config.value} onClose=${close} />`}
    ${open === "delete" && html`<${Ask} title=${`Delete group ${group}?`} danger action=${`Delete ${group} and its ${counted(total, "event")}`} onClose=${close} run=${async () => {
      const { removed = "0" } = await call("EventBusAdmin/DeleteGroup", request);
      return `${group} is deleted, with ${counted(Number(removed), "event")}.`;
    }}>
      <p>This removes ${group} of ${topic} with its copies of ${counted(total, "event")}, ${count(info.dead)} of them dead letters. Other groups keep theirs. It can't be undone.</p>
    <//>`}
  </main>`;
}

/** @param {{ name: string, show: string, where: Where, title: string, number?: number }} props */
function Tab({ name, show, where, title, number }) {
  return html`<a href=${href("group", { ...where, show: name })} aria-current=${name === show ? "page" : undefined}>
    ${title}${number !== undefined && html` <span class=${`amount ${name === "dead" && number ? "bad" : ""}`}>${count(number)}</span>`}
  </a>`;
}

/** A payload on one line. @param {{ info: any }} props */
export function Payload({ info }) {
  if (info.dataWithheld) return html`<span class="muted">withheld</span>`;
  const data = bytes(info.event.data);
  const shown = text(data.slice(0, SHOWN_BYTES * 4));
  if (shown === null) return html`<span class="muted">${counted(data.length, "byte")}</span>`;
  return html`<code class="payload">${shown.length > SHOWN_BYTES ? `${shown.slice(0, SHOWN_BYTES)}…` : shown}</code>`;
}

/** The time that matters in a state. @param {any} group @param {string} state */
function timeOf(group, state) {
  return seconds(state === "dead" ? group.deadAt : state === "leased" ? group.leaseExpiresAt : group.deliverAt);
}

const TIMES = /** @type {Record<string, string>} */ ({ dead: "Died", leased: "Lease ends", scheduled: "Due", ready: "Due", blocked: "Due" });

/** @param {{ where: Where, state: string, number: number, query: Record<string, string>, rights: Set<string> }} props */
function Events({ where, state, number, query, rights }) {
  const [cancels, setCancels] = useState(false);
  const { key = "", order = "" } = query;
  const [typed, type] = useState(key);
  useEffect(() => type(key), [key]);
  return html`<section>
    <form class="filter" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <label>Key <input type="search" value=${typed} placeholder="any" onInput=${(/** @type {any} */ event) => type(event.target.value)} onChange=${(/** @type {any} */ event) => change({ key: event.target.value })} /></label>
      <label>Order <select value=${order} onChange=${(/** @type {any} */ event) => change({ order: event.target.value })}>
        <option value="">oldest first</option><option value="newest">newest first</option>
      </select></label>
      ${key && rights.has("admin") && state !== "dead" && state !== "leased" && html`<button type="button" class="danger" onClick=${() => setCancels(true)}>Cancel all of this key</button>`}
    </form>
    <${EventList} key=${`${state} ${key} ${order}`} where=${where} state=${state} number=${number} keyOf=${key} order=${order} />
    ${cancels && html`<${Ask} title=${`Cancel all events of key ${key}?`} danger action=${`Cancel all of ${key}`} onClose=${() => setCancels(false)} run=${async () => {
      const { cancelled = "0" } = await call("EventBusAdmin/CancelEvents", { ...where, engine: engineName(where.engine), key });
      return `${counted(Number(cancelled), "event")} of key ${key} cancelled.`;
    }}>
      <p>This removes all events of key ${key} that ${where.group} of ${where.topic} has not leased: scheduled, ready and blocked ones, on all pages. It can't be undone.</p>
    <//>`}
  </section>`;
}

/** @param {{ where: Where, state: string, number: number, keyOf: string, order: string }} props */
function EventList({ where, state, number, keyOf, order }) {
  const live = useLive();
  const [tokens, setTokens] = useState([""]);
  const page = useAnswer(
    () =>
      call("EventBusAdmin/ListEvents", {
        ...where,
        engine: engineName(where.engine),
        state: `EVENT_STATE_${state.toUpperCase()}`,
        pageSize: PAGE,
        pageToken: tokens[tokens.length - 1],
        order: order === "newest" ? "ORDER_NEWEST_FIRST" : "ORDER_OLDEST_FIRST",
        key: keyOf,
      }),
    [where.engine, where.topic, where.group, tokens.length, tokens.length === 1 ? number : 0],
  );
  /** @type {any[]} */
  const events = page.value?.events ?? [];
  const now = live.now();
  const withConsumer = state === "leased";
  const withError = state === "dead" || state === "scheduled" || state === "ready";
  return html`
      ${(tokens.length > 1 || page.value?.nextPageToken) && html`<nav class="pages" aria-label="Pages of events">
        <button disabled=${tokens.length === 1} onClick=${() => setTokens(tokens.slice(0, -1))}>Previous</button>
        <button disabled=${!page.value?.nextPageToken} onClick=${() => setTokens([...tokens, page.value.nextPageToken])}>Next</button>
      </nav>`}
    ${page.problem && html`<p class="problem" role="alert">${page.problem}</p>`}
    ${page.value && events.length === 0 && html`<${Empty}>${keyOf ? `No ${state} events of key “${keyOf}” on this page.` : `No ${state} events.`}<//>`}
    ${events.length > 0 && html`<${Table} label=${`${state} events`}>
      <thead><tr><th>Event</th><th>${TIMES[state]}</th><th class="number">Attempts</th><th>Key</th>${withConsumer && html`<th>Held by</th>`}<th>Payload</th>${withError && html`<th>Last error</th>`}</tr></thead>
      <tbody>${events.map((info) => {
        const group = info.groups[0];
        const at = timeOf(group, state);
        return html`<tr key=${info.event.id}>
          <th scope="row"><a class="id" href=${href("event", { engine: where.engine, topic: where.topic, id: info.event.id })}>${info.event.id}</a></th>
          <td class="time">${ago(at, now)}</td>
          <td class="number">${group.attempts ?? 0}</td>
          <td>${info.event.key}</td>
          ${withConsumer && html`<td>${group.consumer}</td>`}
          <td><${Payload} info=${info} /></td>
          ${withError && html`<td class="error">${(group.lastError ?? "").split("\n")[0]}</td>`}
        </tr>`;
      })}</tbody>
    <//>`}`;
}

/** @param {{ where: Where, info: Group }} props */
function Keys({ where, info }) {
  const page = useAnswer(
    () => call("EventBusAdmin/ListKeys", { ...where, engine: engineName(where.engine), pageSize: 200 }),
    [where.engine, where.topic, where.group, info.blocked, info.leased],
  );
  /** @type {any[]} */
  const keys = page.value?.keys ?? [];
  const { engine, topic } = where;
  return html`<section>
    ${page.problem && html`<p class="problem" role="alert">${page.problem}</p>`}
    ${page.value && keys.length === 0 && html`<${Empty}>No key has an event that is ready, in flight, or waits for its retry.<//>`}
    ${keys.length > 0 && html`<p class="muted">The keys with the most blocked events first${page.value.nextPageToken ? `, ${keys.length} of them` : ""}. Each waits for its first event.</p>
    <${Table} label="Keys">
      <thead><tr><th>Key</th><th class="number">Blocked</th><th class="number">In flight</th><th>First event</th></tr></thead>
      <tbody>${keys.map((each) => html`<tr key=${each.key}>
        <th scope="row"><a href=${href("group", { ...where, show: Number(each.blocked ?? 0) ? "blocked" : "ready", key: each.key })}>${each.key}</a></th>
        <td class="number">${count(Number(each.blocked ?? 0))}</td>
        <td class="number">${each.inFlight ?? 0}</td>
        <td><a class="id" href=${href("event", { engine, topic, id: each.headEventId })}>${each.headEventId}</a></td>
      </tr>`)}</tbody>
    <//>`}
  </section>`;
}

/** @param {{ where: Where, info: Group }} props */
function Subscribers({ where, info }) {
  const live = useLive();
  const found = useAnswer(async () => {
    const answer = await call("EventBusAdmin/GetTopic", { engine: engineName(where.engine), topic: where.topic });
    return answer.topic.groups?.find((/** @type {any} */ each) => (each.group ?? "") === where.group)?.subscribers ?? [];
  }, [where.engine, where.topic, where.group, info.subscribers, info.leased]);
  /** @type {any[]} */
  const subscribers = found.value ?? [];
  return html`<section>
    ${found.problem && html`<p class="problem" role="alert">${found.problem}</p>`}
    ${found.value && subscribers.length === 0 && html`<${Empty}>Nobody subscribes to ${where.group || "this topic"}.<//>`}
    ${subscribers.length > 0 && html`<${Table} label="Subscribers">
      <thead><tr><th>Consumer</th><th class="number">In flight</th><th>Connected</th><th>Session</th></tr></thead>
      <tbody>${subscribers.map((each) => html`<tr key=${each.sessionId}>
        <th scope="row">${each.consumer || html`<span class="muted">without a name</span>`}</th>
        <td class="number">${each.inFlight ?? 0}</td>
        <td class="time">${ago(seconds(each.connectedAt), live.now())}</td>
        <td><code>${each.sessionId}</code></td>
      </tr>`)}</tbody>
    <//>`}
  </section>`;
}
