/** The schedules of all engines: their rules in words, their next and last runs. */

import { html } from "htm/preact";
import { useMemo, useState } from "preact/hooks";
import { call, engineName } from "../api.js";
import { ago, count, counted, moment, seconds } from "../format.js";
import { useLive } from "../live.js";
import { Ask, Empty, Field, Table, useRights } from "../parts.js";
import { href } from "../route.js";
import { Rows } from "../rows.js";

/** @typedef {import("../live.js").Schedule} Found */
/** @typedef {{ verb: "pause" | "resume" | "trigger" | "backfill" | "delete", found: Found }} Action */

/** @param {{ query: Record<string, string> }} props */
export function Schedules({ query }) {
  const live = useLive();
  const [action, act] = useState(/** @type {Action | null} */ (null));
  const now = live.now();
  const several = live.engines.length > 1;
  const wanted = (query.q ?? "").toLowerCase();
  const found = useMemo(
    () =>
      [...live.schedules.values()]
        .filter(({ info }) => info.schedule.name.toLowerCase().includes(wanted))
        .sort((one, other) => (one.info.schedule.name < other.info.schedule.name ? -1 : 1)),
    [live.version, wanted],
  );
  if (!live.isLoaded) return html`<main><h1>Schedules</h1><${Empty}>Connecting …<//></main>`;
  const titles = ["Schedule", "Topic", "When", "Next", "Last", "Runs", "Skipped", "Missed"];
  return html`<main>
    <h1>Schedules</h1>
    ${found.length === 0 && html`<${Empty}>No schedules. A schedule dispatches an event again and again.<//>`}
    ${found.length > 0 && html`<${Table} label="Schedules" rows=${found.length}>
      <thead><tr>${titles.map((title, at) => html`<th class=${at > 4 ? "number" : ""}>${title}</th>`)}<th><span class="hidden">Actions</span></th></tr></thead>
      <${Rows} rows=${found} columns=${titles.length + 1} draw=${(/** @type {Found} */ each, /** @type {number} */ index) => html`<${Row} key=${`${each.engine}/${each.info.schedule.name}`} index=${index} found=${each} several=${several} now=${now} act=${act} />`} />
    <//>`}
    ${action && html`<${Act} ...${action} now=${now} onClose=${() => act(null)} />`}
  </main>`;
}

/** @param {{ index: number, found: Found, several: boolean, now: number, act: (action: Action) => void }} props */
function Row({ index, found, several, now, act }) {
  const { engine, info } = found;
  const { name, topic, paused, note } = info.schedule;
  const rights = useRights(topic);
  const [next] = info.next ?? [];
  const last = seconds(info.lastFiredAt);
  /** @param {Action["verb"]} verb @param {string} title @param {string} [kind] */
  const button = (verb, title, kind = "") =>
    html`<button class=${kind} aria-label=${`${title} ${name}`} onClick=${() => act({ verb, found })}>${title}</button>`;
  return html`<tr aria-rowindex=${index}>
    <th scope="row" class="shrinks" title=${note ? `${name}: ${note}` : name}>${name}${several && html` <span class="tag">${engine}</span>`}${paused && html` <span class="tag warn">paused</span>`}${note && html` <span class="muted">${note}</span>`}</th>
    <td class="shrinks"><a href=${href("topic", { engine, topic })} title=${topic}>${topic}</a></td>
    <td class="shrinks" title=${info.description}>${info.description}</td>
    <td class="time">${next ? html`<span title=${moment(seconds(next))}>${seconds(next) > now ? ago(seconds(next), now) : "now"}</span>` : paused ? "" : "has ended"}</td>
    <td class="time">${info.lastEventId && html`<a href=${href("event", { engine, topic, id: info.lastEventId })} title=${moment(last)}>${ago(last, now)}</a>`}</td>
    ${["runs", "skipped", "missed"].map((each) => html`<td class=${`number ${Number(info[each] ?? 0) ? "" : "zero"}`}>${count(Number(info[each] ?? 0))}</td>`)}
    <td class="actions">${rights.has("dispatch") && html`
      ${button("trigger", "Trigger")}${button("backfill", "Backfill")}${paused ? button("resume", "Resume") : button("pause", "Pause")}${button("delete", "Delete", "danger")}`}</td>
  </tr>`;
}

/** @param {Action & { now: number, onClose: () => void }} props */
function Act({ verb, found, now, onClose }) {
  const { name, topic } = found.info.schedule;
  const request = { engine: engineName(found.engine), name };
  switch (verb) {
    case "pause":
      return html`<${Ask} title=${`Pause ${name}?`} action=${`Pause ${name}`} onClose=${onClose} run=${() => call("EventBusSchedules/PauseSchedule", request).then(() => {})}>
        <p>It dispatches nothing until it is resumed. What it would have dispatched meanwhile is never caught up.</p>
      <//>`;
    case "resume":
      return html`<${Ask} title=${`Resume ${name}?`} action=${`Resume ${name}`} onClose=${onClose} run=${() => call("EventBusSchedules/ResumeSchedule", request).then(() => {})}>
        <p>It dispatches to ${topic} again: ${found.info.description}.</p>
      <//>`;
    case "trigger":
      return html`<${Ask} title=${`Trigger ${name}?`} action=${`Trigger ${name}`} onClose=${onClose} run=${async () => {
        const { eventId } = await call("EventBusSchedules/TriggerSchedule", request);
        return `Dispatched as ${eventId}.`;
      }}>
        <p>This dispatches its event to ${topic} once, now.</p>
      <//>`;
    case "backfill":
      return html`<${Ask} title=${`Backfill ${name}`} action="Backfill" onClose=${onClose} run=${async (/** @type {FormData} */ form) => {
        const start = new Date(String(form.get("from"))).toISOString();
        const end = new Date(String(form.get("until"))).toISOString();
        const { eventIds = [] } = await call("EventBusSchedules/BackfillSchedule", { ...request, start, end });
        return `${counted(eventIds.length, "event")} dispatched.`;
      }}>
        <p>This dispatches an event to ${topic} for each of its times in this span.</p>
        <${Field} label="From" name="from" type="datetime-local" required value=${local(now - 86_400)} />
        <${Field} label="Until" name="until" type="datetime-local" required value=${local(now)} hint="Not included" />
      <//>`;
    default:
      return html`<${Ask} title=${`Delete schedule ${name}?`} danger action=${`Delete ${name}`} onClose=${onClose} run=${() => call("EventBusSchedules/DeleteSchedule", request).then(() => {})}>
        <p>This removes ${name}, which has dispatched ${counted(Number(found.info.runs ?? 0), "event")} to ${topic}. These events stay. It can't be undone.</p>
      <//>`;
  }
}

/** As an input for a local time takes it. @param {number} at seconds */
function local(at) {
  return moment(at).replace(" ", "T").slice(0, 16);
}
