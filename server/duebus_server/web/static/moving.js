/**
 * Goes through the dead letters of a group, the longest dead first: counts, redrives or purges those that match, in
 * steps between which it can be stopped. Events that die meanwhile are left alone.
 *
 * @typedef {import("./settings.js").Where} Where
 * @typedef {{ error: string, key: string, age: number }} Filter what the last error contains, the key, and for how many
 *   seconds it has been dead at least; empty or 0 for any
 * @typedef {{ matching: number, examined: number }} Counted
 */

import { call, engineName } from "./api.js";
import { seconds } from "./format.js";

const PAGE = 1_000;
const STEP_S = 5;

/**
 * The dead letters page by page: how many each page has, and those that match.
 *
 * @param {Where} where @param {Filter} filter @param {number} now seconds @param {AbortSignal} signal
 */
async function* pages(where, filter, now, signal) {
  const { key } = filter;
  let pageToken = "";
  do {
    const request = { ...where, engine: engineName(where.engine), state: "EVENT_STATE_DEAD", pageSize: PAGE, pageToken, key };
    const page = await call("EventBusAdmin/ListEvents", request, signal);
    /** @type {any[]} */
    const events = page.events ?? [];
    const old = events.filter((info) => seconds(info.groups[0].deadAt) <= now - filter.age);
    yield { examined: events.length, matching: old.filter((info) => (info.groups[0].lastError ?? "").includes(filter.error)) };
    // The rest died later: without this, events that fail again would be redriven without end.
    if (events.length && !old.length) return;
    pageToken = page.nextPageToken ?? "";
  } while (pageToken && !signal.aborted);
}

/**
 * Count those that match, and report how far it has come.
 *
 * @param {Where} where @param {Filter} filter @param {number} now seconds, of the server
 * @param {AbortSignal} signal @param {(counted: Counted) => void} report
 */
export async function countDead(where, filter, now, signal, report) {
  const counted = { matching: 0, examined: 0 };
  for await (const { examined, matching } of pages(where, filter, now, signal)) {
    counted.examined += examined;
    counted.matching += matching.length;
    report({ ...counted });
  }
}

/**
 * Redrive or purge those that match, and report how many have been moved.
 *
 * @param {"Redrive" | "Purge"} verb @param {Where} where @param {Filter} filter @param {number} rate a second; 0: all at once
 * @param {number} now seconds, of the server @param {AbortSignal} signal @param {(moved: number) => void} report
 */
export async function moveDead(verb, where, filter, rate, now, signal, report) {
  const size = rate ? Math.min(PAGE, Math.max(1, Math.ceil(rate * STEP_S))) : PAGE;
  let moved = 0;
  for await (const { matching } of pages(where, filter, now, signal)) {
    const ids = matching.map((info) => info.event.id);
    for (let at = 0; at < ids.length && !signal.aborted; at += size) {
      const eventIds = ids.slice(at, at + size);
      const request = { ...where, engine: engineName(where.engine), filter: { eventIds } };
      const answer = await call(`EventBusAdmin/${verb}Events`, verb === "Purge" ? request : { ...request, rate });
      moved += Number(answer.redriven ?? answer.purged ?? 0);
      report(moved);
      if (rate) await pause((eventIds.length / rate) * 1_000, signal);
    }
  }
}

/** @param {number} milliseconds @param {AbortSignal} signal ends it early */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve(undefined);
    });
  });
}
