/** The engines of this server: what they hold, which servers share them, and the state of what they store events in. */

import { html } from "htm/preact";
import { useEffect } from "preact/hooks";
import { engines as askEngines } from "../api.js";
import { ago, count, counted, size } from "../format.js";
import { useLive } from "../live.js";
import { Empty, Table, useAnswer } from "../parts.js";

/** @typedef {import("../api.js").EngineInfo} EngineInfo */
/** @typedef {import("../api.js").RedisInfo} RedisInfo */
/** @typedef {import("../api.js").JournalInfo} JournalInfo */

const AGAIN_MS = 5_000;

export function Engines() {
  const live = useLive();
  const answer = useAnswer(askEngines, []);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || answer.again(), AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  if (!live.isLoaded) return html`<main><h1>Engines</h1><${Empty}>Connecting …<//></main>`;
  const topics = [...live.topics.values()];
  return html`<main>
    <h1>Engines</h1>
    <${Table} label="Engines">
      <thead><tr><th>Engine</th><th>State</th><th>Keeps events</th><th class="number">Topics</th><th class="number">Events</th><th class="number">Dead letters</th><th class="number">Subscribers</th></tr></thead>
      <tbody>${live.engines.map((engine) => {
        const own = topics.filter((topic) => topic.engine === engine.engine);
        const groups = own.flatMap((topic) => topic.groups);
        const keeps = engine.engine === "redis" ? "in Redis" : own.some((topic) => topic.durable) ? "in its journal" : own.length ? "in memory" : "–";
        return html`<tr key=${engine.engine}>
          <th scope="row">${engine.engine}</th>
          <td>${engine.problem ? html`<span class="bad">${engine.problem}</span>` : html`<span class="good">${engine.status}</span>`}</td>
          <td>${keeps}</td>
          <td class="number">${count(own.length)}</td>
          <td class="number">${count(own.reduce((sum, topic) => sum + topic.queued, 0))}</td>
          <td class="number">${count(groups.reduce((sum, group) => sum + group.dead, 0))}</td>
          <td class="number">${count(groups.reduce((sum, group) => sum + group.subscribers, 0))}</td>
        </tr>`;
      })}</tbody>
    <//>
    ${answer.problem && html`<p class="problem" role="alert">${answer.problem}</p>`}
    ${(answer.value ?? []).map((engine) => html`<${State} key=${engine.engine} engine=${engine} now=${live.now()} />`)}
  </main>`;
}

/** @param {{ engine: EngineInfo, now: number }} props */
function State({ engine, now }) {
  if (engine.problem) return html`<section><h2>${engine.engine}</h2><p class="problem" role="alert">${engine.problem}</p></section>`;
  return html`
    <section>
      <h2>${counted(engine.replicas.length, "server")} of ${engine.engine}${engine.layout ? html` <span class="muted">writing layout ${engine.layout}</span>` : ""}</h2>
      <${Table} label=${`Servers of ${engine.engine}`}>
        <thead><tr><th>Server</th><th>Process</th><th>Version</th><th>Since</th><th class="number">Streams</th>${engine.layout > 0 && html`<th class="number">Reads layout</th>`}</tr></thead>
        <tbody>${engine.replicas.map((each) => html`<tr key=${each.name}>
          <th scope="row">${each.name}${each.isThis && html` <span class="tag">this one</span>`}</th>
          <td>${each.place || "–"}</td>
          <td>${each.version || "–"}</td>
          <td class="time">${each.since === null ? "–" : ago(each.since, now)}</td>
          <td class="number">${each.streams === null ? html`<span class="warn">drains</span>` : count(each.streams)}</td>
          ${engine.layout > 0 && html`<td class="number">${each.layout ?? "–"}</td>`}
        </tr>`)}</tbody>
      <//>
    </section>
    ${engine.redis.length > 0 && html`<${Redis} nodes=${engine.redis} now=${now} />`}
    ${engine.journal && html`<${Journal} journal=${engine.journal} now=${now} />`}`;
}

/** @param {{ nodes: RedisInfo[], now: number }} props */
function Redis({ nodes, now }) {
  return html`<section>
    <h2>Redis</h2>
    <${Table} label="Redis">
      <thead><tr><th>Address</th><th>Version</th><th>Role</th><th class="number">Replicas</th><th>Up since</th><th class="number">Memory</th><th>When full</th><th>Keeps on disk</th><th>Last snapshot</th></tr></thead>
      <tbody>${nodes.map((node) => html`<tr key=${node.address}>
        <th scope="row">${node.address || "the server of the URL"}</th>
        <td>${node.version}</td>
        <td>${node.role}</td>
        <td class="number">${count(node.replicas)}</td>
        <td class="time">${ago(now - node.uptime, now)}</td>
        <td class="number">${size(node.memory)}${node.maxMemory > 0 && html` <span class="muted">of ${size(node.maxMemory)}</span>`}</td>
        <td class=${node.policy && node.policy !== "noeviction" ? "warn" : ""}>${node.policy || "–"}</td>
        <td>${node.appends ? "each write (AOF)" : html`<span class="warn">snapshots only</span>`}</td>
        <td class="time">${ago(node.saved, now)}${node.unsaved > 0 && `, ${counted(node.unsaved, "write")} since`}</td>
      </tr>`)}</tbody>
    <//>
  </section>`;
}

const SYNCS = /** @type {Record<string, string>} */ ({
  always: "before each answer",
  everysec: "once a second: a crash of the host can lose the last one",
});
const SPACE = /** @type {Record<string, string>} */ ({
  ample: "the disk has room",
  scarce: "the disk is full: dispatches are refused",
  none: "the disk is full: every call is refused",
});

/** @param {{ journal: JournalInfo, now: number }} props */
function Journal({ journal, now }) {
  return html`<section>
    <h2>Journal</h2>
    <dl class="facts">
      <dt>Directory</dt><dd><code>${journal.path}</code></dd>
      <dt>Segments</dt><dd>${counted(journal.segments, "file")} of ${size(journal.size)}, the oldest last written ${ago(journal.oldest, now)}</dd>
      <dt>Still needed</dt><dd>${size(journal.live)}; ${size(journal.size - journal.live)} ${journal.segments > 1 ? "are freed as the oldest files are copied" : "are freed once there is a second file"}</dd>
      <dt>Synced</dt><dd>${SYNCS[journal.fsync] ?? journal.fsync}; ${journal.synced === null ? "not since the start" : `last ${ago(journal.synced, now)}`}${journal.unsynced > 0 && `, ${size(journal.unsynced)} since`}</dd>
      <dt>Space</dt><dd class=${journal.space === "ample" ? "" : "bad"}>${SPACE[journal.space] ?? journal.space}</dd>
    </dl>
  </section>`;
}
