/** The engines of this server, and what they hold. */

import { html } from "htm/preact";
import { count } from "../format.js";
import { useLive } from "../live.js";
import { Empty, Table } from "../parts.js";

export function Engines() {
  const live = useLive();
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
  </main>`;
}
