/** One event: what it is, and what happened to it in each group. */

import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { call, engineName } from "../api.js";
import { ago, bytes, counted, durationSeconds, hex, json, lateness, moment, seconds, span, text } from "../format.js";
import { useLive } from "../live.js";
import { Ask, Empty, Field, useAnswer, useRights } from "../parts.js";
import { href } from "../route.js";
import { Dispatch } from "./topic.js";

const OUTCOMES = /** @type {Record<string, [string, string]>} */ ({
  OUTCOME_NACKED: ["warn", "failed, to be retried"],
  OUTCOME_DEAD: ["bad", "failed, and became a dead letter"],
  OUTCOME_RELEASED: ["", "was given back unhandled; not counted"],
  OUTCOME_EXPIRED: ["warn", "ran out of its lease"],
});
const WAITS = ["EVENT_STATE_SCHEDULED", "EVENT_STATE_READY", "EVENT_STATE_BLOCKED"];

/** @param {{ query: Record<string, string> }} props */
export function EventPage({ query }) {
  const { engine = "", topic = "", id = "" } = query;
  const live = useLive();
  const rights = useRights(topic);
  const [open, set] = useState("");
  const state = JSON.stringify(live.find(engine, topic)?.groups.map((each) => [each.ready, each.leased, each.dead, each.scheduled, each.blocked]) ?? []);
  const request = { engine: engineName(engine), topic };
  const answer = useAnswer(async () => (await call("EventBusAdmin/GetEvent", { ...request, eventId: id })).event, [engine, topic, id], [state]);
  const title = html`<h1><a href=${href("topic", { engine, topic })}>${topic}</a><span class="slash">/</span><span class="id">${id}</span></h1>`;
  if (answer.problem) return html`<main>${title}<${Empty}>${answer.problem}. It may have been acked, cancelled or purged in every group.<//></main>`;
  const found = answer.value;
  if (!found) return html`<main>${title}<${Empty}>Loading …<//></main>`;
  const now = live.now();
  /** @type {any[]} */
  const groups = found.groups ?? [];
  const waits = groups.some((each) => WAITS.includes(each.state));
  const dead = groups.filter((each) => each.state === "EVENT_STATE_DEAD");
  const close = () => {
    set("");
    answer.again();
  };
  const shown = found.dataWithheld ? null : text(bytes(found.event.data));
  return html`<main>
    <div class="heading">
      ${title}
      <div class="buttons">
        ${rights.has("dispatch") && !found.dataWithheld && shown !== null && html`<button onClick=${() => set("copy")}>Dispatch a copy</button>`}
        ${rights.has("admin") && html`
          ${dead.length > 0 && html`<button onClick=${() => set("redrive")}>Redrive</button>`}
          ${waits && html`<button onClick=${() => set("reschedule")}>Reschedule</button><button class="danger" onClick=${() => set("cancel")}>Cancel</button>`}
          ${dead.length > 0 && html`<button class="danger" onClick=${() => set("purge")}>Purge</button>`}`}
      </div>
    </div>
    <dl class="facts">
      <dt>Dispatched</dt><dd>${moment(seconds(found.dispatchedAt))}, ${ago(seconds(found.dispatchedAt), now)}${found.dispatchedBy && ` by ${found.dispatchedBy}`}</dd>
      ${found.event.key && html`<dt>Key</dt><dd>${found.event.key}</dd>`}
      ${found.event.priority && html`<dt>Priority</dt><dd>${priorityInWords(found.event.priority)}</dd>`}
      ${found.event.contentType && html`<dt>Content type</dt><dd>${found.event.contentType}</dd>`}
      ${Object.entries(found.event.attributes ?? {}).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
    </dl>
    <${Data} info=${found} />
    ${groups.map((group) => html`<${Story} key=${group.group} group=${group} info=${found} engine=${engine} now=${now} />`)}
    ${open === "copy" && html`<${Dispatch} engine=${engine} topic=${topic} event=${found.event} data=${shown ?? ""} onClose=${close} />`}
    ${open === "cancel" && html`<${Ask} title="Cancel this event?" danger action=${`Cancel ${id}`} onClose=${close} run=${async () => {
      const { cancelled = "0" } = await call("EventBusAdmin/CancelEvents", { ...request, eventIds: [id] });
      return Number(cancelled) ? `${id} is cancelled.` : `${id} was leased or dead, and is left alone.`;
    }}><p>This removes ${id} from ${counted(groups.filter((each) => WAITS.includes(each.state)).length, "group")} in which it waits. It can't be undone.</p><//>`}
    ${open === "reschedule" && html`<${Ask} title=${`Reschedule ${id}`} action="Reschedule" onClose=${close} run=${(/** @type {FormData} */ form) =>
      call("EventBusAdmin/RescheduleEvents", { ...request, eventIds: [id], delay: `${Number(form.get("delay"))}s` }).then(() => {})}>
      <${Field} label="Due in, seconds" name="delay" type="number" min="0" step="any" required value="0" hint="0: now" />
    <//>`}
    ${(open === "redrive" || open === "purge") && html`<${Ask} title=${`${open === "redrive" ? "Redrive" : "Purge"} this event?`} danger=${open === "purge"} action=${`${open === "redrive" ? "Redrive" : "Purge"} ${id}`} onClose=${close} run=${async () => {
      for (const group of dead) {
        const each = { ...request, group: group.group, filter: { eventIds: [id] } };
        await call(open === "redrive" ? "EventBusAdmin/RedriveEvents" : "EventBusAdmin/PurgeEvents", each);
      }
    }}><p>${id} is dead in ${dead.map((each) => each.group).join(", ")}. ${open === "redrive" ? "It becomes ready again there, with all its retries." : "This removes it there for good."}</p><//>`}
  </main>`;
}

/** @param {number} priority seconds */
function priorityInWords(priority) {
  const size = span(Math.abs(priority));
  return priority > 0 ? `a head start of ${size} over events that are due as well` : `stands back for ${size} behind events that are due as well`;
}

/** The payload, as JSON if it is, as text, or in hexadecimal. @param {{ info: any }} props */
function Data({ info }) {
  const [chosen, choose] = useState("");
  if (info.dataWithheld) return html`<p class="muted">You may not see the payload: no rule gives you the right to it.</p>`;
  const data = bytes(info.event.data);
  const plain = text(data);
  const forms = /** @type {[string, string | null][]} */ ([["JSON", json(plain)], ["Text", plain], ["Hex", hex(data)]]);
  const possible = forms.filter(([, shown]) => shown !== null);
  const [name, shown] = possible.find(([each]) => each === chosen) ?? possible[0];
  return html`<section>
    <div class="heading"><h2>Payload <span class="muted">${counted(data.length, "byte")}</span></h2>
      <div class="buttons" role="group" aria-label="Show as">${possible.map(([each]) => html`<button aria-pressed=${each === name} onClick=${() => choose(each)}>${each}</button>`)}</div>
    </div>
    <pre tabindex="0">${shown}</pre>
  </section>`;
}

/** @param {{ group: any, info: any, engine: string, now: number }} props */
function Story({ group, info, engine, now }) {
  const { topic } = info;
  const state = group.state.replace("EVENT_STATE_", "").toLowerCase();
  /** @type {any[]} */
  const history = group.history ?? [];
  const [first] = history;
  return html`<section>
    <h2><a href=${href("group", { engine, topic, group: group.group ?? "", show: state })}>${group.group || "no group yet"}</a>
      <span class=${`tag ${state === "dead" ? "bad" : ""}`}>${state === "leased" ? "in flight" : state}</span>
      <span class="muted">${counted(group.attempts ?? 0, "attempt")}, ${group.maxRetries ?? 0} retries allowed</span></h2>
    <ol class="story">
      <${Step} at=${seconds(info.dispatchedAt)} what="Dispatched" />
      ${first && first.attempt > 1 && html`<${Step} at=${Number.NaN} what="Earlier attempts, which are no longer recorded" />`}
      ${history.map((each, at) => html`<${Attempt} each=${each} due=${at === history.length - 1 && HAS_BEGUN.includes(state) ? seconds(group.deliverAt) : at ? Number.NaN : firstDue(info)} />`)}
      <${Next} group=${group} state=${state} engine=${engine} topic=${topic} now=${now} />
    </ol>
  </section>`;
}

const HAS_BEGUN = ["leased", "dead"];

/** When an event was due as it was dispatched, in seconds. @param {any} info */
function firstDue({ event, dispatchedAt }) {
  return event.deliverAt ? seconds(event.deliverAt) : seconds(dispatchedAt) + durationSeconds(event.delay);
}

/** @param {{ each: any, due: number }} props `due` is NaN if it is no longer known */
function Attempt({ each, due }) {
  const [level, outcome] = OUTCOMES[each.outcome] ?? ["", "is under way"];
  const began = seconds(each.startedAt);
  const took = seconds(each.endedAt) - began;
  const held = [each.consumer && ` by ${each.consumer}`, !Number.isNaN(took) && ` for ${span(took)}`].filter(Boolean).join("");
  const late = !Number.isNaN(due) && `begun ${lateness(Math.max(0, began - due))} after it was due`;
  const lines = (each.error ?? "").split("\n");
  return html`<${Step} at=${began} level=${level} what=${`Attempt ${each.attempt} ${outcome}`}>
    <span class="muted">${[held && `held${held}`, late].filter(Boolean).join(", ")}</span>
    ${each.error && html`<div class="error">${lines[0]}</div>`}
    ${lines.length > 1 && html`<details><summary>Traceback</summary><pre tabindex="0">${lines.slice(1).join("\n")}</pre></details>`}
  <//>
  ${each.redrivenAt && html`<${Step} at=${seconds(each.redrivenAt)} what="Redriven, with all its retries" />`}`;
}

/** What comes next. @param {{ group: any, state: string, engine: string, topic: string, now: number }} props */
function Next({ group, state, engine, topic, now }) {
  const due = seconds(group.deliverAt);
  switch (state) {
    case "scheduled":
      return html`<${Step} at=${due} what=${`Becomes due ${ago(due, now)}`} next />`;
    case "ready":
      return html`<${Step} at=${due} what=${`Due ${ago(due, now)}, waits for a subscriber`} next />`;
    case "blocked":
      return html`<${Step} at=${due} what=${group.waitsFor ? "Waits for the event of its key that is ahead of it" : "Waits until its key lets more through"} next>
        ${group.waitsFor && html`<a class="id" href=${href("event", { engine, topic, id: group.waitsFor })}>${group.waitsFor}</a>`}
      <//>`;
    case "leased": {
      const ends = seconds(group.leaseExpiresAt);
      return html`<${Step} at=${ends} what=${`The lease of ${group.consumer || "a subscriber"} ends ${ago(ends, now)}`} next />`;
    }
    default:
      return html`<${Step} at=${seconds(group.deadAt)} what=${`Dead ${ago(seconds(group.deadAt), now)}, kept until it is redriven or purged`} next />`;
  }
}

/** @param {{ at: number, what: string, level?: string, next?: boolean, children?: any }} props */
function Step({ at, what, level = "", next, children }) {
  return html`<li class=${`${level} ${next ? "next" : ""}`}><time>${moment(at)}</time><div><span class="what">${what}</span> ${children}</div></li>`;
}
