/** One topic: its groups, its settings, and a chart. */

import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { call, engineName } from "../api.js";
import { LastHour } from "../chart.js";
import { count, counted, durationSeconds, rate, span } from "../format.js";
import { useLive } from "../live.js";
import { Ask, Empty, Field, Table, useAnswer, useLast, useRights } from "../parts.js";
import { PauseOrResume } from "../pause.js";
import { href } from "../route.js";
import { Configure, duration, keysInWords, limitsInWords, retriesInWords } from "../settings.js";
import { troubles } from "../trouble.js";
import { OneTrouble } from "./overview.js";

/** @param {{ query: Record<string, string> }} props */
export function TopicPage({ query }) {
  const { engine = "", topic = "" } = query;
  const live = useLive();
  const rights = useRights(topic);
  const [open, set] = useState("");
  const [asked, asks] = useState("");
  const found = useLast(live.find(engine, topic), open !== "");
  const config = useAnswer(
    async () => (await call("EventBusAdmin/GetTopic", { engine: engineName(engine), topic })).topic.config,
    [engine, topic],
  );
  if (!found) {
    return html`<main><h1>${topic}</h1><${Empty}>${live.isLoaded ? "There is no such topic." : "Connecting …"}<//></main>`;
  }
  const close = () => {
    set("");
    config.again();
  };
  const trouble = troubles(found, live.now());
  const dead = found.groups.reduce((sum, each) => sum + each.dead, 0);
  return html`<main>
    <div class="heading">
      <h1>${topic}</h1>
      <div class="buttons">
        ${rights.has("dispatch") && html`<button onClick=${() => set("dispatch")}>Dispatch an event</button>`}
        ${rights.has("admin") && html`<button onClick=${() => set("configure")}>Configure</button>
        <button class="danger" onClick=${() => set("delete")}>Delete</button>`}
      </div>
    </div>
    ${trouble.length > 0 && html`<ul class="troubles">${trouble.map((each) => html`<${OneTrouble} trouble=${each} several=${false} />`)}</ul>`}
    <section>
      <h2>Groups</h2>
      <${Table} label="Groups">
        <thead><tr>${["Group", "Ready", "Scheduled", "In flight", "Blocked", "Dead", "Subscribers", "Delivered/s", "Acked/s", "Nacked/s"].map((title, at) => html`<th class=${at ? "number" : ""}>${title}</th>`)}${rights.has("admin") && html`<th><span class="hidden">Actions</span></th>`}</tr></thead>
        <tbody>${found.groups.map((group) => html`<tr key=${group.group}>
          <th scope="row">
            <a href=${href("group", { engine, topic, group: group.group })}>${group.group || "no group yet"}</a>
            ${group.paused && html` <span class="tag warn">paused</span>`}${group.ephemeral && html` <span class="tag">ephemeral</span>`}
          </th>
          ${[group.ready, group.scheduled, group.leased, group.blocked, group.dead, group.subscribers].map((value, at) => html`<td class=${`number ${value ? "" : "zero"} ${at === 4 && value ? "bad" : ""}`}>${count(value)}</td>`)}
          ${group.rates.slice(1).map((value) => html`<td class=${`number ${value ? "" : "zero"}`}>${rate(value)}</td>`)}
          ${rights.has("admin") && html`<td class="actions">${group.group && html`<button aria-label=${`${group.paused ? "Resume" : "Pause"} ${group.group}`} onClick=${() => asks(group.group)}>${group.paused ? "Resume" : "Pause"}</button>`}</td>`}
        </tr>`)}</tbody>
      <//>
    </section>
    <${LastHour} engine=${engine} topic=${topic} />
    <section>
      <h2>Settings</h2>
      ${config.problem && html`<p class="problem" role="alert">${config.problem}</p>`}
      <dl class="facts">
        <dt>Engine</dt><dd>${engine}${found.durable ? ", durable" : ", in memory: what it holds is lost when the server ends"}</dd>
        <dt>Holds</dt><dd>${counted(found.queued, "event")}${found.maxQueued ? ` of at most ${count(found.maxQueued)}` : ""}</dd>
        ${config.value && html`<${Settings} config=${config.value} />`}
      </dl>
    </section>
    ${asked && html`<${PauseOrResume} where=${{ engine, topic, group: asked }} found=${found} onClose=${() => asks("")} />`}
    ${open === "dispatch" && html`<${Dispatch} engine=${engine} topic=${topic} onClose=${close} />`}
    ${open === "configure" && config.value && html`<${Configure} where=${{ engine, topic, group: "" }} config=${config.value} found=${found} onClose=${close} />`}
    ${open === "delete" && html`<${Ask} title=${`Delete topic ${topic}?`} danger action=${`Delete ${topic} and its ${counted(found.queued, "event")}`} onClose=${close} run=${async () => {
      const { removed = "0" } = await call("EventBusAdmin/DeleteTopic", { engine: engineName(engine), topic });
      return `${topic} is deleted, with ${counted(Number(removed), "event")}.`;
    }}>
      <p>This removes the topic with its ${counted(found.groups.filter((each) => each.group).length, "group")}, its settings, ${counted(found.queued, "event")} that ${found.queued === 1 ? "waits" : "wait"}, and ${counted(dead, "dead letter")}. It can't be undone.</p>
    <//>`}
  </main>`;
}

/** @param {{ config: any }} props */
function Settings({ config }) {
  const retention = durationSeconds(config.deadLetterRetention);
  return html`
    <dt>Retries</dt><dd>${retriesInWords(config.retryPolicy)}</dd>
    <dt>Limits of each group</dt><dd>${limitsInWords(config.limits)}</dd>
    <dt>Keys</dt><dd>${keysInWords(config.keys)}</dd>
    <dt>Lease</dt><dd>${span(durationSeconds(config.lease))}</dd>
    <dt>Dead letters</dt><dd>${retention ? `are purged after ${span(retention)}` : "are kept until someone purges them"}</dd>
    <dt>Ids remembered</dt><dd>for ${span(durationSeconds(config.dedupeWindow))}</dd>
    ${config.partitions > 1 && html`<dt>Partitions</dt><dd>${config.partitions}</dd>`}`;
}

/**
 * Dispatches an event, perhaps a copy of another.
 *
 * @param {{ engine: string, topic: string, event?: any, data?: string, onClose: () => void }} props
 */
export function Dispatch({ engine, topic, event, data = "", onClose }) {
  /** @param {FormData} form */
  const run = async (form) => {
    const text = String(form.get("data"));
    const bytes = new TextEncoder().encode(text);
    const isUnchanged = event && text === data.replace(/\r\n?/g, "\n"); // as a text area ends lines
    const encoded = isUnchanged ? event.data : btoa(Array.from(bytes, (each) => String.fromCharCode(each)).join(""));
    const sent = {
      data: encoded,
      contentType: String(form.get("events[0].content_type")),
      key: String(form.get("events[0].key")),
      priority: Number(form.get("events[0].priority") || 0),
      delay: duration(form, "events[0].delay"),
      attributes: event?.attributes ?? {},
    };
    const { eventIds } = await call("EventBus/Dispatch", { topic, engines: [engineName(engine)], events: [sent] });
    return `Dispatched as ${eventIds[0]}.`;
  };
  return html`<${Ask} title=${event ? `Dispatch a copy to ${topic}` : `Dispatch an event to ${topic}`} action="Dispatch" onClose=${onClose} run=${run}>
    <label class="field"><span>Payload</span><textarea name="data" rows="6" spellcheck=${false}>${data}</textarea></label>
    <${Field} label="Content type" name="events[0].content_type" value=${event?.contentType ?? "application/json"} />
    <${Field} label="Key" name="events[0].key" value=${event?.key ?? ""} hint="Events of one key are delivered in order; empty for none" />
    <${Field} label="Priority" name="events[0].priority" type="number" value=${event?.priority ?? 0} hint="A head start in seconds" />
    <${Field} label="Delay" name="events[0].delay" required value="0s" hint="Such as 30s or 2h" />
  <//>`;
}
