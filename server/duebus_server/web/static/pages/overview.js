/** All topics, and what is in trouble. */

import { html } from "htm/preact";
import { useMemo } from "preact/hooks";
import { count, counted, lateness, rate, span } from "../format.js";
import { live, ratesOf, useLive } from "../live.js";
import { Empty, Sparkline, Table } from "../parts.js";
import { change, href } from "../route.js";
import { Rows } from "../rows.js";
import { troubles } from "../trouble.js";

/** @typedef {import("../live.js").Topic} Topic */
/** @typedef {import("../trouble.js").Trouble} Trouble */
/** @typedef {ReturnType<typeof summed>} Summed */

const TROUBLES = 12;
const TROUBLES_S = 5;

const COLUMNS = /** @type {const} */ ([
  ["topic", "Topic"],
  ["ready", "Ready"],
  ["scheduled", "Scheduled"],
  ["leased", "In flight"],
  ["blocked", "Blocked"],
  ["dead", "Dead"],
  ["oldest", "Oldest"],
  ["p50", "Late p50"],
  ["p99", "p99"],
  ["in", "In/s"],
  ["out", "Acked/s"],
]);

/** @type {WeakMap<Topic, Summed>} A topic that has changed is another object. */
const known = new WeakMap();

/** @param {Topic} topic */
function row(topic) {
  const found = known.get(topic) ?? summed(topic);
  known.set(topic, found);
  return found;
}

/** @param {Topic} topic */
function summed(topic) {
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
    name: topic.topic.toLowerCase(),
    since: Math.min(...since, Number.POSITIVE_INFINITY),
    p50: topic.lateness?.[0] ?? -1,
    p99: topic.lateness?.[1] ?? -1,
    in: dispatched,
    out: acked,
  };
}

/** The topics that have a text in their names, in order. @param {Iterable<Topic>} topics @param {string} wanted @param {string} sort */
function sorted(topics, wanted, sort) {
  const rows = [...topics].map(row).filter((each) => each.name.includes(wanted));
  rows.sort((one, other) => compare(one, other, sort) || (one.topic.topic < other.topic.topic ? -1 : 1));
  return rows;
}

/** @param {Summed} one @param {Summed} other @param {string} sort */
function compare(one, other, sort) {
  if (sort === "topic") return 0;
  if (sort === "oldest") return one.since === other.since ? 0 : one.since - other.since;
  const by = /** @type {"ready"} */ (sort);
  return other[by] - one[by];
}

/** @param {{ query: Record<string, string> }} props */
export function Overview({ query }) {
  const live = useLive();
  const now = live.now();
  const wanted = (query.q ?? "").toLowerCase();
  const sort = COLUMNS.find(([name]) => name === query.sort)?.[0] ?? "topic";
  const rows = useMemo(() => sorted(live.topics.values(), wanted, sort), [live.version, wanted, sort]);
  const all = live.topics.size;
  const found = useMemo(() => [...live.topics.values()].flatMap((topic) => troubles(topic, now)), [live.version, Math.floor(now / TROUBLES_S)]);
  const several = live.engines.length > 1;
  if (!live.isLoaded) return html`<main><${Empty}>Connecting …<//></main>`;
  return html`<main>
    <h1 class="hidden">Overview</h1>
    <${InTrouble} found=${found} several=${several} />
    <section>
      <h2>${counted(rows.length, "topic")}${wanted && html` <span class="muted">with “${query.q}” of ${count(all)}</span>`}</h2>
      ${all === 0 && html`<${Empty}>No topics yet. Dispatching an event makes one:<code>duebus dispatch order.created '{"id":42}'</code><//>`}
      ${all > 0 && rows.length === 0 && html`<${Empty}>No topic has “${query.q}” in its name.<//>`}
      ${rows.length > 0 && html`<${Table} label="Topics" rows=${rows.length}>
        <thead><tr>${COLUMNS.map(([name, title]) => html`<th class=${name === "topic" ? "" : "number"} aria-sort=${name === sort ? (name === "topic" ? "ascending" : "descending") : "none"}>
          <button class="plain" onClick=${() => change({ sort: name === "topic" ? "" : name })}>${title}</button>
        </th>`)}<th class="wide"><span class="hidden">Dispatched, the last minutes</span></th></tr></thead>
        <${Rows} rows=${rows} columns=${COLUMNS.length + 1} draw=${(/** @type {Summed} */ each, /** @type {number} */ index) => html`<${Row} index=${index} key=${`${each.topic.engine}/${each.topic.topic}`} row=${each} several=${several} now=${now} />`} />
      <//>`}
    </section>
  </main>`;
}

/** @param {{ index: number, row: Summed, several: boolean, now: number }} props */
function Row({ index, row, several, now }) {
  const { engine, topic } = row.topic;
  const samples = live.samples.get(`${engine}/${topic}`) ?? [];
  const waits = Number.isFinite(row.since);
  return html`<tr aria-rowindex=${index}>
    <th scope="row"><a href=${href("topic", { engine, topic })}>${topic}</a>${several && html` <span class="tag">${engine}</span>`}</th>
    ${COLUMNS.slice(1, 6).map(([name]) => html`<td class=${`number ${name === "dead" && row.dead ? "bad" : ""} ${row[/** @type {"dead"} */ (name)] ? "" : "zero"}`}>${count(row[/** @type {"dead"} */ (name)])}</td>`)}
    <td class=${`number ${waits ? "" : "zero"}`}>${waits ? span(Math.max(0, now - row.since)) : "–"}</td>
    ${[row.p50, row.p99].map((late) => html`<td class=${`number ${late < 0 ? "zero" : ""}`}>${late < 0 ? "–" : lateness(late)}</td>`)}
    <td class=${`number ${row.in ? "" : "zero"}`}>${rate(row.in)}</td>
    <td class=${`number ${row.out ? "" : "zero"}`}>${rate(row.out)}</td>
    <td class="wide"><${Sparkline} values=${samples} /></td>
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
