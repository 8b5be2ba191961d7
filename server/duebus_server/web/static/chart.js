/** What a topic, or one of its groups, did in each minute of the last hour. */

import { html } from "htm/preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { call, engineName } from "./api.js";
import { count, counted, durationSeconds, lateness as late, moment, seconds } from "./format.js";
import { live } from "./live.js";
import { Empty, useAnswer } from "./parts.js";

/** @typedef {{ label: string, colour: string, dash: number[], values: (number | null)[] }} Line */

const HEIGHT = 160;
const MINUTES = 60;
const AGAIN_MS = 10_000;

/** @param {string} name of a variable of the style sheet */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A moment as the time of day, without seconds. @param {number} at seconds */
const timeOfDay = (at) => moment(at).slice(11, 16);

/** Of a minute without neighbours there is no line to draw: it is drawn as a point. @param {uPlot} plot @param {number} at */
function alone(plot, at) {
  const values = plot.data[at];
  return [...values.keys()].filter((index) => values[index] != null && values[index - 1] == null && values[index + 1] == null);
}

/** @param {number} width @param {Line[]} lines @param {(value: number) => string} words @returns {uPlot.Options} */
function options(width, lines, words) {
  const axis = { stroke: () => colour("--muted"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } };
  const series = lines.map((line) => ({
    label: line.label,
    stroke: () => colour(line.colour),
    dash: line.dash,
    width: 1.5,
    points: { show: true, size: 5, filter: alone },
    value: (/** @type {uPlot} */ _, /** @type {number | null} */ value) => (value === null ? "–" : words(value)),
  }));
  return {
    width,
    height: HEIGHT,
    cursor: { drag: { x: false, y: false } },
    axes: [
      { ...axis, values: (_, splits) => splits.map(timeOfDay), space: 90, size: 28 },
      { ...axis, values: (_, splits) => splits.map(words), size: 60 },
    ],
    scales: { y: { range: (_, __, max) => [0, (max || 1) * 1.1] } },
    series: [{ label: "Minute", value: (_, at) => (at === null ? "–" : timeOfDay(at)) }, ...series],
  };
}

/** @param {{ label: string, times: number[], lines: Line[], words: (value: number) => string }} props */
function Plot({ label, times, lines, words }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {uPlot | null} */ (null));
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const made = new uPlot(options(element.clientWidth, lines, words), [[], ...lines.map(() => [])], element);
    plot.current = made;
    const fit = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    fit.observe(element);
    return () => {
      fit.disconnect();
      made.destroy();
    };
  }, [lines.length]);
  useEffect(() => plot.current?.setData([times, ...lines.map((line) => line.values)]));
  return html`<div class="chart" ref=${place} role="img" aria-label=${label}></div>`;
}

/** Each minute of the last hour; null for one in which nothing happened. @param {any[]} minutes @param {number} now */
function hour(minutes, now) {
  const last = Math.floor(now / 60) * 60;
  const times = Array.from({ length: MINUTES }, (_, at) => last - (MINUTES - 1 - at) * 60);
  const byTime = new Map(minutes.map((minute) => [seconds(minute.start), minute]));
  return { times, found: times.map((at) => byTime.get(at) ?? null) };
}

/** The charts. Without a group, they are about the whole topic. @param {{ engine: string, topic: string, group?: string }} props */
export function LastHour({ engine, topic, group }) {
  const answer = useAnswer(
    async () => (await call("EventBusAdmin/GetTopic", { engine: engineName(engine), topic })).topic.minutes ?? [],
    [engine, topic],
  );
  useEffect(() => {
    const timer = setInterval(() => document.hidden || answer.again(), AGAIN_MS);
    return () => clearInterval(timer);
  }, [engine, topic]);
  if (answer.problem) return html`<section><h2>The last hour</h2><p class="problem" role="alert">${answer.problem}</p></section>`;
  if (!answer.value) return null;
  const { times, found } = hour(answer.value, live.now());
  const parts = found.map((minute) =>
    (minute?.groups ?? []).filter((/** @type {any} */ each) => group === undefined || (each.group ?? "") === group),
  );
  /** @param {string} name */
  const sums = (name) => parts.map((each) => each.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + Number(one[name] ?? 0), 0));
  /** @type {Line[]} */
  const counts = [
    { label: "Delivered", colour: "--muted", dash: [6, 3], values: sums("delivered") },
    { label: "Acked", colour: "--good", dash: [], values: sums("acked") },
    { label: "Nacked", colour: "--warn", dash: [2, 3], values: sums("nacked") },
    { label: "Dead", colour: "--bad", dash: [], values: sums("dead") },
  ];
  if (group === undefined) {
    counts.unshift({ label: "Dispatched", colour: "--accent", dash: [], values: found.map((minute) => Number(minute?.dispatched ?? 0)) });
  }
  const delays = parts.map((each, at) => (group === undefined ? found[at] : each[0])?.lateness);
  /** @type {Line[]} */
  const lateness = [
    { label: "p50", colour: "--accent", dash: [], values: delays.map((each) => (each ? durationSeconds(each.p50) : null)) },
    { label: "p99", colour: "--bad", dash: [6, 3], values: delays.map((each) => (each ? durationSeconds(each.p99) : null)) },
  ];
  const totals = counts.map(({ label, values }) => `${label.toLowerCase()} ${count(values.reduce((/** @type {number} */ sum, value) => sum + (value ?? 0), 0))}`);
  const worst = Math.max(...lateness[1].values.map((each) => each ?? 0));
  if (!answer.value.length) {
    return html`<section><h2>The last hour</h2><${Empty}>Nothing happened in the last hour${engine === "local" ? ", or since the server started" : ""}.<//></section>`;
  }
  return html`<section>
    <h2>The last hour <span class="muted">by the minute: ${totals.join(", ")}</span></h2>
    <${Plot} label=${`Events by the minute in the last hour: ${totals.join(", ")}`} times=${times} lines=${counts} words=${count} />
    <h2>Lateness <span class="muted">from due to delivered</span></h2>
    <${Plot} label=${`Lateness by the minute in the last hour: p99 at most ${late(worst)} in ${counted(delays.filter(Boolean).length, "minute")} with deliveries`} times=${times} lines=${lateness} words=${late} />
  </section>`;
}
