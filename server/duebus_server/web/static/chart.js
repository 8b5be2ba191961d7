/** The rates of a topic since the page was opened. */

import { html } from "htm/preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { moment } from "./format.js";
import { useLive } from "./live.js";

const NAMES = ["Dispatched", "Delivered", "Acked", "Nacked"];
const COLOURS = ["--accent", "--muted", "--good", "--bad"];
const DASHES = [[], [6, 3], [], [2, 3]];
const HEIGHT = 180;
const SHOWN_S = 60;

/** @param {string} name of a variable of the style sheet */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @param {number} width @returns {uPlot.Options} */
function options(width) {
  const axis = { stroke: () => colour("--muted"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } };
  const series = NAMES.map((label, at) => ({
    label: `${label}/s`,
    stroke: () => colour(COLOURS[at]),
    dash: DASHES[at],
    width: 1.5,
    points: { show: false },
    value: (/** @type {uPlot} */ _, /** @type {number} */ value) => (value === null ? "–" : value.toFixed(1)),
  }));
  return {
    width,
    height: HEIGHT,
    cursor: { drag: { x: false, y: false } },
    axes: [{ ...axis, values: (_, splits) => splits.map((at) => moment(at).slice(11)), space: 90, size: 28 }, { ...axis, size: 46 }],
    scales: {
      x: { range: (_, min, max) => [Math.min(min, max - SHOWN_S), max] },
      y: { range: (_, __, max) => [0, Math.max(1, max * 1.1)] },
    },
    series: [{ value: (_, at) => (at === null ? "" : moment(at).slice(11)) }, ...series],
  };
}

/** @param {{ engine: string, topic: string }} props */
export function Chart({ engine, topic }) {
  const live = useLive();
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {uPlot | null} */ (null));
  const samples = live.samples.get(`${engine}/${topic}`) ?? [];
  const last = samples.at(-1);
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const made = new uPlot(options(element.clientWidth), [[], [], [], [], []], element);
    plot.current = made;
    const fit = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    fit.observe(element);
    return () => {
      fit.disconnect();
      made.destroy();
    };
  }, [engine, topic]);
  useEffect(() => {
    // A message comes only with a change, so the last rates hold until now.
    const shown = last ? [...samples, { at: live.now(), rates: last.rates }] : samples;
    plot.current?.setData([shown.map((each) => each.at), ...NAMES.map((_, at) => shown.map((each) => each.rates[at]))]);
  });
  return html`<section>
    <h2>Events a second <span class="muted">${samples.length ? `since ${moment(samples[0].at).slice(11)}, when this page was opened` : ""}</span></h2>
    <div class="chart" ref=${place} role="img" aria-label=${`Events a second, at present: ${NAMES.map((name, at) => `${name} ${last?.rates[at] ?? 0}`).join(", ")}`}></div>
  </section>`;
}
