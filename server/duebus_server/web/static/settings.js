/** The settings of topics and groups: in words, and as a form that changes them. */

import { html } from "htm/preact";
import { call, engineName, FieldError } from "./api.js";
import { brief, count, counted, durationSeconds, span } from "./format.js";
import { Ask, Choice, Field } from "./parts.js";

/**
 * @typedef {import("./live.js").Topic} Topic
 * @typedef {{ engine: string, topic: string, group: string }} Where
 */

const PERIODS = /** @type {Record<number, string>} */ ({ 1: "a second", 60: "a minute", 3_600: "an hour", 86_400: "a day" });
const LONG_S = 60;

/** @param {any} policy a RetryPolicy */
export function retriesInWords(policy) {
  const retries = policy?.maxRetries ?? 0;
  if (!retries) return "none: an event that fails once is a dead letter";
  const first = span(durationSeconds(policy.backoffInitial));
  if (retries === 1) return `once, after ${first}`;
  return `${count(retries)} times: after ${first}, then each after twice as long, up to ${span(durationSeconds(policy.backoffMax))}`;
}

/** @param {any} rate a Rate */
function rateInWords(rate) {
  const per = durationSeconds(rate.per);
  const burst = rate.burst ? `, up to ${count(rate.burst)} at once after a pause` : "";
  return `${count(rate.events)} ${PERIODS[per] ?? `in ${span(per)}`}${burst}`;
}

/** @param {any} limits a Limits, if there is one */
export function limitsInWords(limits) {
  const parts = [];
  if (limits?.maxInFlight) parts.push(`${count(limits.maxInFlight)} in flight`);
  if (limits?.rate) parts.push(rateInWords(limits.rate));
  return parts.length ? `at most ${parts.join("; at most ")}` : "none";
}

/** @param {any} keys a KeyPolicy, if there is one */
export function keysInWords(keys) {
  const slots = keys?.maxInFlight ?? 1;
  if (slots === 0) return "ignored";
  const parts = [slots === 1 ? "in order, one event of a key at a time" : `up to ${count(slots)} events of a key at once, in no order`];
  if (slots === 1) parts.push(keys?.onDead === "ON_DEAD_HOLD" ? "a dead letter holds up its key" : "a dead letter lets the next one through");
  if (keys?.rate) parts.push(`of each key at most ${rateInWords(keys.rate)}`);
  if (Number(keys?.maxBlocked ?? 0)) parts.push(`dispatches are refused over ${count(Number(keys.maxBlocked))} blocked ones of a key`);
  return parts.join("; ");
}

/** A duration as the contract has it, from "90s", "5m" or a number of seconds. @param {FormData} form @param {string} name */
export function duration(form, name) {
  const given = String(form.get(name) ?? "").trim();
  const found = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/.exec(given);
  if (!found) throw new FieldError(name, `“${given}” is not a duration such as 500ms, 30s, 5m or 2h`);
  const unit = { ms: 0.001, s: 1, m: 60, h: 3_600, d: 86_400 }[found[2] ?? "s"] ?? 1;
  return `${Number((Number(found[1]) * unit).toFixed(6))}s`;
}

/** @param {FormData} form @param {string} name */
const number = (form, name) => Number(form.get(name) || 0);

/** The Rate of a form; undefined if its number of events is empty. @param {FormData} form @param {string} path */
function rateOf(form, path) {
  if (!form.get(`${path}.events`)) return undefined;
  return { events: number(form, `${path}.events`), per: duration(form, `${path}.per`), burst: number(form, `${path}.burst`) };
}

/** The Limits of a form. @param {FormData} form */
function limitsOf(form) {
  return { maxInFlight: number(form, "config.limits.max_in_flight"), rate: rateOf(form, "config.limits.rate") };
}

/** The KeyPolicy of a form. @param {FormData} form */
function keysOf(form) {
  return {
    maxInFlight: number(form, "config.keys.max_in_flight"),
    rate: rateOf(form, "config.keys.rate"),
    onDead: String(form.get("config.keys.on_dead")),
    maxBlocked: String(number(form, "config.keys.max_blocked")),
  };
}

/** The settings of a form, whole. @param {FormData} form @param {Where} where @returns {any} */
function configOf(form, { engine, group }) {
  const own = {
    retryPolicy: {
      maxRetries: number(form, "config.retry_policy.max_retries"),
      backoffInitial: duration(form, "config.retry_policy.backoff_initial"),
      backoffMax: duration(form, "config.retry_policy.backoff_max"),
    },
    limits: form.get("follows-limits") ? {} : limitsOf(form),
    keys: form.get("follows-keys") ? {} : keysOf(form),
  };
  if (group) return own;
  return {
    ...own,
    lease: duration(form, "config.lease"),
    maxQueued: String(number(form, "config.max_queued")),
    deadLetterRetention: duration(form, "config.dead_letter_retention"),
    dedupeWindow: duration(form, "config.dedupe_window"),
    ...(engine === "redis" ? { partitions: number(form, "config.partitions") } : {}),
  };
}

/** The settings that a form starts with, in the form that `configOf` gives them. @param {any} config @returns {any} */
function complete(config) {
  const { limits, keys } = config;
  return {
    ...config,
    limits: { maxInFlight: limits?.maxInFlight ?? 0, rate: completeRate(limits?.rate) },
    keys: {
      maxInFlight: keys?.maxInFlight ?? 1,
      rate: completeRate(keys?.rate),
      onDead: keys?.onDead === "ON_DEAD_HOLD" ? "ON_DEAD_HOLD" : "ON_DEAD_SKIP",
      maxBlocked: keys?.maxBlocked ?? "0",
    },
    maxQueued: config.maxQueued ?? "0",
    deadLetterRetention: config.deadLetterRetention ?? "0s",
    dedupeWindow: config.dedupeWindow ?? "0s",
    partitions: config.partitions ?? 1,
  };
}

/** @param {any} rate */
const completeRate = (rate) => rate && { events: rate.events, per: `${durationSeconds(rate.per)}s`, burst: rate.burst ?? 0 };

/** What differs between two settings: a retry policy by its fields, the others whole. @param {any} before @param {any} after @returns {any} */
function changesOf(before, after) {
  return Object.fromEntries(
    Object.entries(after)
      .map(([name, value]) => [name, name === "retryPolicy" ? changesOf(before[name] ?? {}, value) : value])
      .filter(([name, value]) => (name === "retryPolicy" ? Object.keys(value).length : !isSame(value, before[name]))),
  );
}

/** @param {any} one @param {any} other */
function isSame(one, other) {
  const isDuration = typeof one === "string" && one.endsWith("s");
  return isDuration ? durationSeconds(one) === durationSeconds(other) : JSON.stringify(one) === JSON.stringify(other);
}

/** What a change destroys, or holds up. @param {any} before @param {any} changes @param {Topic} found @param {string} group @returns {string[]} */
function consequencesOf(before, changes, found, group) {
  const groups = group ? found.groups.filter((each) => each.group === group) : found.groups;
  /** @param {"ready" | "dead" | "blocked"} state */
  const sum = (state) => groups.reduce((total, each) => total + each[state], 0);
  const { keys, limits } = changes;
  const maxQueued = Number(changes.maxQueued ?? 0);
  const retention = durationSeconds(changes.deadLetterRetention);
  const hadRetention = durationSeconds(before.deadLetterRetention) || Number.POSITIVE_INFINITY;
  const per = limits?.rate ? durationSeconds(limits.rate.per) / limits.rate.events : 0;
  const warnings = [];
  if (retention && retention < hadRetention) {
    warnings.push(`This purges each dead letter ${span(retention)} after its death, for good. There ${sum("dead") === 1 ? "is" : "are"} ${counted(sum("dead"), "dead letter")} now.`);
  }
  if (maxQueued && found.queued >= maxQueued) {
    warnings.push(`The topic holds ${counted(found.queued, "event")}: dispatches are refused until it holds fewer than ${count(maxQueued)}.`);
  }
  if (keys?.onDead === "ON_DEAD_HOLD" && before.keys.onDead !== "ON_DEAD_HOLD") {
    warnings.push("From now on a dead letter holds up its key: nothing more of that key is delivered until someone redrives or purges it.");
  }
  if (keys && before.keys.maxInFlight === 1 && (keys.maxInFlight ?? 1) !== 1) {
    const blocked = sum("blocked");
    warnings.push(`Events of one key are no longer delivered in order${blocked ? `: ${count(blocked)} that ${blocked === 1 ? "is" : "are"} blocked may be delivered now` : ""}.`);
  }
  if (per * sum("ready") > LONG_S) {
    warnings.push(`At this rate, the ${counted(sum("ready"), "event")} that ${sum("ready") === 1 ? "is" : "are"} ready take ${span(per * sum("ready"))}.`);
  }
  if (changes.partitions) warnings.push("This forgets the ids of requests, and of events that are gone: what is dispatched again is stored again.");
  return warnings;
}

/**
 * Changes the settings of a topic, or of a group.
 *
 * @param {{ where: Where, config: any, found: Topic, onClose: () => void }} props `config` is in force
 */
export function Configure({ where, config, found, onClose }) {
  const { engine, topic, group } = where;
  const before = complete(config);
  /** @param {FormData} form */
  const changes = (form) => changesOf(before, configOf(form, where));
  /** @param {FormData} form */
  const run = async (form) => {
    await call("EventBusAdmin/ConfigureTopic", { engine: engineName(engine), topic, group, config: changes(form) });
  };
  const consequences = (/** @type {FormData} */ form) => consequencesOf(before, changes(form), found, group);
  return html`<${Ask} title=${`Configure ${group ? `${topic} / ${group}` : topic}`} action="Save" onClose=${onClose} run=${run} consequences=${consequences}>
    <${Retries} policy=${config.retryPolicy ?? {}} />
    <${Limits} limits=${before.limits} group=${group} />
    <${Keys} keys=${before.keys} group=${group} />
    ${!group && html`<${OfTopic} config=${before} engine=${engine} />`}
  <//>`;
}

/** @param {{ policy: any }} props */
function Retries({ policy }) {
  return html`<fieldset>
    <legend>Retries</legend>
    <${Field} label="At most" name="config.retry_policy.max_retries" type="number" min="0" required value=${policy.maxRetries ?? 0} />
    <${Field} label="The first after" name="config.retry_policy.backoff_initial" required value=${brief(policy.backoffInitial)} hint="Such as 500ms; doubles each time" />
    <${Field} label="Doubles up to" name="config.retry_policy.backoff_max" required value=${brief(policy.backoffMax)} />
  </fieldset>`;
}

/** @param {{ limits: any, group: string }} props */
function Limits({ limits, group }) {
  return html`<fieldset>
    <legend>${group ? "Limits" : "Limits of each group"}</legend>
    <${Field} label="In flight at most" name="config.limits.max_in_flight" type="number" min="0" value=${limits.maxInFlight || ""} placeholder="unlimited" />
    <${RateFields} path="config.limits.rate" rate=${limits.rate} />
    ${group && html`<${Follows} what="limits" />`}
  </fieldset>`;
}

/** @param {{ keys: any, group: string }} props */
function Keys({ keys, group }) {
  return html`<fieldset>
    <legend>Keys</legend>
    <${Field} label="Of a key at once" name="config.keys.max_in_flight" type="number" min="0" required value=${keys.maxInFlight} hint="1: in order; 0: keys are ignored" />
    <${Choice} label="A dead letter" name="config.keys.on_dead" value=${keys.onDead} options=${[["ON_DEAD_SKIP", "lets the next one through"], ["ON_DEAD_HOLD", "holds up its key"]]} />
    <${Field} label="Blocked at most" name="config.keys.max_blocked" type="number" min="0" value=${Number(keys.maxBlocked) || ""} placeholder="a tenth" />
    <${RateFields} path="config.keys.rate" rate=${keys.rate} />
    ${group && html`<${Follows} what="keys" />`}
  </fieldset>`;
}

/** @param {{ path: string, rate: any }} props */
function RateFields({ path, rate }) {
  return html`
    <${Field} label="Deliveries at most" name=${`${path}.events`} type="number" min="0" value=${rate?.events ?? ""} placeholder="unlimited" />
    <${Field} label="in" name=${`${path}.per`} required value=${brief(rate?.per ?? "1s")} />
    <${Field} label="At once after a pause" name=${`${path}.burst`} type="number" min="0" value=${rate?.burst || ""} placeholder="by the rate" />`;
}

/** @param {{ what: string }} props */
function Follows({ what }) {
  return html`<label class="check"><input type="checkbox" name=${`follows-${what}`} /> Drop these, and follow the topic</label>`;
}

/** @param {{ config: any, engine: string }} props */
function OfTopic({ config, engine }) {
  return html`<fieldset>
    <legend>Topic</legend>
    <${Field} label="Lease" name="config.lease" required value=${brief(config.lease)} />
    <${Field} label="Holds at most" name="config.max_queued" type="number" min="0" value=${Number(config.maxQueued) || ""} placeholder="unlimited" />
    <${Field} label="Purge dead letters after" name="config.dead_letter_retention" required value=${brief(config.deadLetterRetention)} hint="0s: never" />
    <${Field} label="Remember ids for" name="config.dedupe_window" required value=${brief(config.dedupeWindow)} />
    ${engine === "redis" && html`<${Field} label="Partitions" name="config.partitions" type="number" min="1" required value=${config.partitions} />`}
  </fieldset>`;
}
