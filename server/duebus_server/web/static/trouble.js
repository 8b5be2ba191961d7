/**
 * What is in trouble, with the reason in words.
 *
 * @typedef {import("./live.js").Topic} Topic
 * @typedef {import("./live.js").Group} Group
 * @typedef {{ level: "bad" | "warn", rank: number, topic: Topic, group: string | null, show: string, text: string }} Trouble
 */

import { count, counted, span } from "./format.js";

const LATE_S = 30;
const NEARLY_FULL = 0.9;
const MANY_NACKS = 0.2;

/** @param {Topic} topic @param {number} now @returns {Trouble[]} the worst first */
export function troubles(topic, now) {
  /** @type {Trouble[]} */
  const found = [];
  if (topic.problem) found.push({ level: "bad", rank: 0, topic, group: null, show: "", text: topic.problem });
  const { queued, maxQueued } = topic;
  if (maxQueued && queued >= maxQueued) {
    const text = `is full: it holds ${counted(queued, "event")}, and dispatches are refused`;
    found.push({ level: "bad", rank: 1, topic, group: null, show: "", text });
  } else if (maxQueued && queued > NEARLY_FULL * maxQueued) {
    const text = `is nearly full: it holds ${count(queued)} of at most ${counted(maxQueued, "event")}`;
    found.push({ level: "warn", rank: 4, topic, group: null, show: "", text });
  }
  for (const group of topic.groups) found.push(...ofGroup(topic, group, now));
  return found.sort((one, other) => one.rank - other.rank);
}

/** @param {Topic} topic @param {Group} group @param {number} now @returns {Trouble[]} */
function ofGroup(topic, group, now) {
  /** @type {Trouble[]} */
  const found = [];
  /** @param {"bad" | "warn"} level @param {number} rank @param {string} show @param {string} text */
  const add = (level, rank, show, text) => found.push({ level, rank, topic, group: group.group, show, text });
  const waits = group.readySince === null ? 0 : now - group.readySince;
  const blocked = group.blockedSince === null ? 0 : now - group.blockedSince;
  if (group.paused) {
    add("warn", 6, "ready", group.ready ? `is paused, and ${waiting(group.ready, waits)}` : "is paused");
  } else if (group.ready && !group.group) {
    if (waits > LATE_S) add("warn", 5, "ready", `has no group yet, and ${waiting(group.ready, waits)}`);
  } else if (group.ready && !group.subscribers && !group.leased && waits > 1) {
    add("bad", 2, "ready", `has no subscriber, and ${waiting(group.ready, waits)}`);
  } else if (waits > LATE_S) {
    add("bad", 3, "ready", `falls behind: ${waiting(group.ready, waits)}`);
  }
  if (blocked > LATE_S && group.group) {
    add("warn", 5, "keys", `has keys that are held up: ${counted(group.blocked, "event")} blocked for up to ${span(blocked)}`);
  }
  const [, delivered, , nacked] = group.rates;
  if (nacked > MANY_NACKS * delivered && nacked >= 0.1) {
    add("warn", 4, "scheduled", `fails often: ${nacked.toFixed(1)} of ${delivered.toFixed(1)} deliveries a second are nacked`);
  }
  if (group.dead) add("bad", 3, "dead", `has ${counted(group.dead, "dead letter")}`);
  return found;
}

/** @param {number} ready @param {number} waits seconds */
function waiting(ready, waits) {
  return `${counted(ready, "event")} ${ready === 1 ? "waits" : "wait"}, the oldest for ${span(waits)}`;
}
