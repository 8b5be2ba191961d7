/** All topics, and what is in trouble. */

import { html } from "htm/preact";
import { count, counted, rate, span } from "../format.js";
import { ratesOf, useLive } from "../live.js";
import { Empty, Sparkline, Table } from "../parts.js";
import { change, href } from "../route.js";
import { troubles } from "../trouble.js";

/** @typedef {import("../live.js").Topic} Topic */
/** @typedef {import("../trouble.js").Trouble} Trouble */

const PAGE = 100;
const TROUBLES = 12;

const COLUMNS = /** @type {const} */ ([
  ["topic", "Topic"],
  ["ready", "Ready"],
  ["scheduled", "Scheduled"],
  ["leased", "In flight"],
  ["blocked", "Blocked"],
  ["dead", "Dead"],
  ["oldest", "Oldest"],
  ["in", "In/s"],
  ["out", "Acked/s"],
]);

/** @param {Topic} topic @param {number} now */
function row(topic, now) {
  /** @param {"ready" | "scheduled" | "leased" | "blocked" | "dead"} state */
  const sum = (state) => topic.groups.reduce((total, group) => total + group[state], 0);
  const since = topic.groups.map((group) => group.readySince).filter((each) => each !== null);
  const [dispatched, , acked] = ratesOf(topic);
  return {
    topic,
    ready: sum("ready"),
    scheduled: sum("scheduled"),
    leased: sum("leased"),
    blocked: sum("blocked"),
    dead: sum("dead"),
    oldest: since.length ? now - Math.min(...since) : 0,
    in: dispatched,
    out: acked,
  };
}

/** @param {{ query: Record<string, string> }} props */
export function Overview({ query }) {
  const live = useLive();
  const now = live.now();
  const all = [...live.topics.values()];
  const wanted = (query.q ?? "").toLowerCase();
  const rows = all.filter((topic) => topic.topic.toLowerCase().includes(wanted)).map((topic) => row(topic, now));
  const sort = COLUMNS.find(([name]) => name === query.sort)?.[0] ?? "topic";
  rows.sort((one, other) =>
    sort === "topic" || one[sort] === other[sort]
      ? one.topic.topic.localeCompare(other.topic.topic)
      : Number(other[sort]) - Number(one[sort]),
  );
  const pages = Math.max(1, Math.ceil(rows.length / PAGE));
  const page = Math.min(pages, Math.max(1, Number(query.page) || 1));
  if (!live.isLoaded) return html`<main><${Empty}>Connecting …<//></main>`;
  return html`<main>
    <h1 class="hidden">Overview</h1>
    <${InTrouble} found=${all.flatMap((topic) => troubles(topic, now))} several=${live.engines.length > 1} />
    <section>
      <div class="heading">
        <h2>${counted(rows.length, "topic")}${wanted && html` <span class="muted">with “${query.q}” of ${count(all.length)}</span>`}</h2>
        ${pages > 1 && html`<${Pages} page=${page} pages=${pages} />`}
      </div>
      ${all.length === 0 && html`<${Empty}>No topics yet. Dispatching an event makes one:<code>duebus dispatch order.created '{"id":42}'</code><//>`}
      ${all.length > 0 && rows.length === 0 && html`<${Empty}>No topic has “${query.q}” in its name.<//>`}
      ${rows.length > 0 && html`<${Table} label="Topics">
        <thead><tr>${COLUMNS.map(([name, title]) => html`<th class=${name === "topic" ? "" : "number"} aria-sort=${name === sort ? (name === "topic" ? "ascending" : "descending") : "none"}>
          <button class="plain" onClick=${() => change({ sort: name === "topic" ? "" : name, page: "" })}>${title}</button>
        </th>`)}<th class="wide"><span class="hidden">Dispatched, the last minutes</span></th></tr></thead>
        <tbody>${rows.slice((page - 1) * PAGE, page * PAGE).map((each) => html`<${Row} key=${`${each.topic.engine}/${each.topic.topic}`} row=${each} several=${live.engines.length > 1} />`)}</tbody>
      <//>`}
    </section>
  </main>`;
}

/** @param {{ row: ReturnType<typeof row>, several: boolean }} props */
function Row({ row, several }) {
  const live = useLive();
  const { engine, topic } = row.topic;
  const samples = live.samples.get(`${engine}/${topic}`) ?? [];
  return html`<tr>
    <th scope="row"><a href=${href("topic", { engine, topic })}>${topic}</a>${several && html` <span class="tag">${engine}</span>`}</th>
    ${COLUMNS.slice(1, 6).map(([name]) => html`<td class=${`number ${name === "dead" && row.dead ? "bad" : ""} ${row[name] ? "" : "zero"}`}>${count(Number(row[name]))}</td>`)}
    <td class=${`number ${row.oldest ? "" : "zero"}`}>${row.oldest ? span(row.oldest) : "–"}</td>
    <td class=${`number ${row.in ? "" : "zero"}`}>${rate(row.in)}</td>
    <td class=${`number ${row.out ? "" : "zero"}`}>${rate(row.out)}</td>
    <td class="wide"><${Sparkline} values=${samples.map((each) => each.rates[0])} /></td>
  </tr>`;
}

/** @param {{ found: Trouble[], several: boolean }} props */
function InTrouble({ found, several }) {
  if (!found.length) return html`<p class="fine" role="status">Nothing is in trouble.</p>`;
  const sorted = [...found].sort((one, other) => one.rank - other.rank);
  return html`<section>
    <h2>In trouble</h2>
    <ul class="troubles">${sorted.slice(0, TROUBLES).map((each) => html`<${OneTrouble} trouble=${each} several=${several} />`)}</ul>
    ${sorted.length > TROUBLES && html`<p class="muted">and ${count(sorted.length - TROUBLES)} more</p>`}
  </section>`;
}

/** @param {{ trouble: Trouble, several: boolean }} props */
export function OneTrouble({ trouble, several }) {
  const { engine, topic } = trouble.topic;
  const at =
    trouble.group === null
      ? href("topic", { engine, topic })
      : href("group", { engine, topic, group: trouble.group, show: trouble.show });
  return html`<li class=${trouble.level}>
    <a href=${at}>${topic}${trouble.group && html`<span class="slash">/</span>${trouble.group}`}</a>${several && html` <span class="tag">${engine}</span>`} ${trouble.text}.
  </li>`;
}

/** @param {{ page: number, pages: number }} props */
function Pages({ page, pages }) {
  /** @param {number} to */
  const go = (to) => change({ page: to === 1 ? "" : String(to) });
  return html`<nav class="pages" aria-label="Pages of topics">
    <button disabled=${page === 1} onClick=${() => go(page - 1)}>Previous</button>
    <span>${page} of ${pages}</span>
    <button disabled=${page === pages} onClick=${() => go(page + 1)}>Next</button>
  </nav>`;
}
