/** One group: its events by state, its dead letters by error, its keys and subscribers. */

import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { call, engineName } from "../api.js";
import { LastHour } from "../chart.js";
import { ago, bytes, count, counted, lateness as late, moment, seconds, text } from "../format.js";
import { useLive } from "../live.js";
import { Ask, Empty, Table, useAnswer, useLast, useList, useRights } from "../parts.js";
import { PauseOrResume } from "../pause.js";
import { change, href } from "../route.js";
import { Rows } from "../rows.js";
import { Configure, keysInWords, limitsInWords, retriesInWords } from "../settings.js";
import { troubles } from "../trouble.js";
import { DeadLetters } from "./dead.js";
import { OneTrouble } from "./overview.js";

/** @typedef {import("../live.js").Group} Group */
/** @typedef {import("../settings.js").Where} Where */

const STATES = /** @type {const} */ ([
  ["ready", "Ready"],
  ["scheduled", "Scheduled"],
  ["leased", "In flight"],
  ["blocked", "Blocked"],
  ["dead", "Dead"],
]);
const OTHER_TABS = ["keys", "subscribers", "hour"];
const PAGE = 200;
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
  const details = useAnswer(async () => {
    const answer = await call("EventBusAdmin/GetTopic", { engine: engineName(engine), topic });
    return answer.topic.groups?.find((/** @type {any} */ each) => (each.group ?? "") === group);
  }, [engine, topic, group], [info?.ready, info?.leased, info?.blocked, info?.subscribers]);
  if (!found || !info) {
    return html`<main><h1>${topic} / ${group}</h1><${Empty}>${live.isLoaded ? "There is no such group." : "Connecting …"}<//></main>`;
  }
  const show = query.show || (info.dead ? "dead" : info.ready ? "ready" : info.leased ? "leased" : "scheduled");
  const where = { engine, topic, group };
  const request = { engine: engineName(engine), topic, group };
  const close = () => {
    set("");
    details.again();
  };
  const total = STATES.reduce((sum, [state]) => sum + info[state], 0);
  const trouble = troubles(found, live.now()).filter((each) => each.group === group);
  return html`<main>
    <div class="heading">
      <h1><a href=${href("topic", { engine, topic })}>${topic}</a><span class="slash">/</span>${group || "no group yet"}</h1>
      ${rights.has("admin") && group && html`<div class="buttons">
        <button onClick=${() => set("pause")}>${info.paused ? "Resume" : "Pause"}</button>
        <button onClick=${() => set("configure")}>Configure</button>
        <button class="danger" onClick=${() => set("delete")}>Delete</button>
      </div>`}
    </div>
    ${trouble.length > 0 && html`<ul class="troubles">${trouble.map((each) => html`<${OneTrouble} trouble=${each} several=${false} />`)}</ul>`}
    ${group && details.value && html`<${Policy} details=${details.value} lateness=${info.lateness} now=${live.now()} />`}
    <nav class="tabs" aria-label="What to show">
      ${STATES.map(([state, title]) => html`<${Tab} name=${state} show=${show} where=${where} title=${title} number=${info[state]} />`)}
      <${Tab} name="keys" show=${show} where=${where} title="Keys" />
      <${Tab} name="subscribers" show=${show} where=${where} title="Subscribers" number=${info.subscribers} />
      <${Tab} name="hour" show=${show} where=${where} title="Last hour" />
    </nav>
    ${show === "keys" && html`<${Keys} where=${where} info=${info} />`}
    ${show === "subscribers" && html`<${Subscribers} where=${where} subscribers=${details.value?.subscribers ?? []} problem=${details.problem} />`}
    ${show === "dead" && html`<${DeadLetters} where=${where} dead=${info.dead} query=${query} rights=${rights} />`}
    ${show === "hour" && html`<${LastHour} ...${where} />`}
    ${!OTHER_TABS.includes(show) && html`<${Events} where=${where} state=${show} number=${info[/** @type {"ready"} */ (show)]} query=${query} rights=${rights} />`}
    ${open === "pause" && html`<${PauseOrResume} where=${where} found=${found} onClose=${close} />`}
    ${open === "configure" && details.value && html`<${Configure} where=${where} config=${details.value} found=${found} onClose=${close} />`}
    ${open === "delete" && html`<${Ask} title=${`Delete group ${group}?`} danger action=${`Delete ${group} and its ${counted(total, "event")}`} onClose=${close} run=${async () => {
      const { removed = "0" } = await call("EventBusAdmin/DeleteGroup", request);
      return `${group} is deleted, with ${counted(Number(removed), "event")}.`;
    }}>
      <p>This removes ${group} of ${topic} with its copies of ${counted(total, "event")}, ${count(info.dead)} of them dead letters. Other groups keep theirs. It can't be undone.</p>
    <//>`}
  </main>`;
}

/** What holds for the group, in words. @param {{ details: any, lateness: [number, number] | null, now: number }} props */
function Policy({ details, lateness, now }) {
  const until = seconds(details.throttledUntil);
  return html`<dl class="facts">
    <dt>Retries</dt><dd>${retriesInWords(details.retryPolicy)}</dd>
    <dt>Limits</dt><dd>${limitsInWords(details.limits)}${until > now && html` <span class="tag warn" title=${moment(until)}>held up until ${moment(until).slice(11)}, ${ago(until, now)}</span>`}</dd>
    <dt>Keys</dt><dd>${keysInWords(details.keys)}</dd>
    <dt>Lateness</dt><dd>${lateness ? `p50 ${late(lateness[0])}, p99 ${late(lateness[1])} in the last five minutes` : "no deliveries in the last five minutes"}</dd>
  </dl>`;
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
  const list = useList(
    async (pageToken) => {
      const page = await call("EventBusAdmin/ListEvents", {
        ...where,
        engine: engineName(where.engine),
        state: `EVENT_STATE_${state.toUpperCase()}`,
        pageSize: PAGE,
        pageToken,
        order: order === "newest" ? "ORDER_NEWEST_FIRST" : "ORDER_OLDEST_FIRST",
        key: keyOf,
      });
      return { items: /** @type {any[]} */ (page.events ?? []), next: page.nextPageToken ?? "" };
    },
    [where.engine, where.topic, where.group, state, keyOf, order],
    [number],
  );
  const events = list.items ?? [];
  const now = live.now();
  const titles = ["Event", TIMES[state], "Attempts", "Key", ...(state === "leased" ? ["Held by"] : []), ...(state === "blocked" ? ["Waits for"] : []), "Payload", ...(WITH_ERROR.includes(state) ? ["Last error"] : [])];
  return html`
    ${list.problem && html`<p class="problem" role="alert">${list.problem}</p>`}
    ${list.items && events.length === 0 && html`<${Empty}>${keyOf ? `No ${state} events of key “${keyOf}”.` : `No ${state} events.`}<//>`}
    ${list.isKept && html`<p class="muted">${counted(events.length, "event")} as they were when they were fetched. <button onClick=${list.again}>Fetch again</button></p>`}
    ${events.length > 0 && html`<${Table} label=${`${state} events`} rows=${keyOf ? events.length : number}>
      <thead><tr>${titles.map((title) => html`<th class=${title === "Attempts" ? "number" : ""}>${title}</th>`)}</tr></thead>
      <${Rows} rows=${events} columns=${titles.length} onEnd=${list.fetchMore} draw=${(/** @type {any} */ info, /** @type {number} */ index) => html`<${EventRow} key=${info.event.id} index=${index} info=${info} where=${where} state=${state} now=${now} />`} />
    <//>`}`;
}

const WITH_ERROR = ["dead", "scheduled", "ready"];

/** @param {{ index: number, info: any, where: Where, state: string, now: number }} props */
function EventRow({ index, info, where, state, now }) {
  const { engine, topic } = where;
  const group = info.groups[0];
  const { priority } = info.event;
  return html`<tr aria-rowindex=${index}>
    <th scope="row"><a class="id" href=${href("event", { engine, topic, id: info.event.id })}>${info.event.id}</a>${priority && html` <span class="tag" title="A head start of so many seconds">priority ${count(priority)}</span>`}</th>
    <td class="time">${ago(timeOf(group, state), now)}</td>
    <td class="number">${group.attempts ?? 0}</td>
    <td title=${info.event.key}>${info.event.key}</td>
    ${state === "leased" && html`<td>${group.consumer}</td>`}
    ${state === "blocked" && html`<td>${group.waitsFor && html`<a class="id" href=${href("event", { engine, topic, id: group.waitsFor })}>${group.waitsFor}</a>`}</td>`}
    <td><${Payload} info=${info} /></td>
    ${WITH_ERROR.includes(state) && html`<td class="error" title=${group.lastError}>${(group.lastError ?? "").split("\n")[0]}</td>`}
  </tr>`;
}

/** What a key waits for, in words. @param {any} key a KeyInfo @param {number} now */
function reason(key, now) {
  const opens = seconds(key.opensAt);
  if (key.held) return "a dead letter, until it is redriven or purged";
  if (opens > now) return `its rate or a pause, which ends ${ago(opens, now)}`;
  if (key.inFlight) return `${counted(key.inFlight, "event")} in flight`;
  return "an event that is ready, or waits for its retry";
}

/** @param {{ where: Where, info: Group }} props */
function Keys({ where, info }) {
  const now = useLive().now();
  const list = useList(
    async (pageToken) => {
      const page = await call("EventBusAdmin/ListKeys", { ...where, engine: engineName(where.engine), pageSize: PAGE, pageToken });
      return { items: /** @type {any[]} */ (page.keys ?? []), next: page.nextPageToken ?? "" };
    },
    [where.engine, where.topic, where.group],
    [info.blocked, info.leased, info.ready, info.dead],
  );
  const keys = list.items ?? [];
  return html`<section>
    ${list.problem && html`<p class="problem" role="alert">${list.problem}</p>`}
    ${list.items && keys.length === 0 && html`<${Empty}>No key has an event that is ready, in flight, or waits for its retry.<//>`}
    ${keys.length > 0 && html`<p class="muted">The keys with the most blocked events first${list.isKept && html`, as they were when they were fetched. <button onClick=${list.again}>Fetch again</button>`}</p>
    <${Table} label="Keys" rows=${keys.length}>
      <thead><tr><th>Key</th><th class="number">Blocked</th><th class="number">In flight</th><th>Waits for</th><th>Event ahead</th></tr></thead>
      <${Rows} rows=${keys} columns=${5} onEnd=${list.fetchMore} draw=${(/** @type {any} */ each, /** @type {number} */ index) => html`<${KeyRow} key=${each.key} index=${index} each=${each} where=${where} now=${now} />`} />
    <//>`}
  </section>`;
}

/** @param {{ index: number, each: any, where: Where, now: number }} props */
function KeyRow({ index, each, where, now }) {
  const { engine, topic } = where;
  const blocked = Number(each.blocked ?? 0);
  return html`<tr aria-rowindex=${index}>
    <th scope="row"><a href=${href("group", { ...where, show: blocked ? "blocked" : "ready", key: each.key })}>${each.key}</a></th>
    <td class="number">${count(blocked)}</td>
    <td class="number">${each.inFlight ?? 0}</td>
    <td class=${each.held ? "bad" : ""}>${reason(each, now)}</td>
    <td>${each.headEventId && html`<a class="id" href=${href("event", { engine, topic, id: each.headEventId })}>${each.headEventId}</a>`}</td>
  </tr>`;
}

/** @param {{ where: Where, subscribers: any[], problem: string }} props */
function Subscribers({ where, subscribers, problem }) {
  const live = useLive();
  return html`<section>
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    ${subscribers.length === 0 && html`<${Empty}>Nobody subscribes to ${where.group || "this topic"}.<//>`}
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
