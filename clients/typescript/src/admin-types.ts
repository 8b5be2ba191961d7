import { invalid } from "./errors.js";
import type * as wire from "./generated/duebus/v1/admin.js";
import {
  Attempt_Outcome,
  TopicConfig as WireConfig,
  EventInfo as WireEventInfo,
  KeyPolicy_OnDead as WireOnDead,
  EventState as WireState,
  TopicInfo as WireTopicInfo,
} from "./generated/duebus/v1/admin.js";
import { Event as WireEvent } from "./generated/duebus/v1/event_bus.js";
import type { Duration } from "./generated/google/protobuf/duration.js";
import { durationFromWire, durationToWire, type Engine, engineFromWire, integer, shown } from "./values.js";

/** Where an event stands in one group; `blocked`: it is due, but its key is taken. */
export type EventState = "scheduled" | "ready" | "leased" | "blocked" | "dead";

/** How a delivery ended: nacked to be retried, nacked as dead, given back unhandled, or its lease ran out. */
export type AttemptOutcome = "nacked" | "dead" | "released" | "expired";

/** What happens to a key when one of its events becomes dead: the next one is delivered, or none. */
export type OnDead = "skip" | "hold";

const STATES: Readonly<Record<EventState, WireState>> = {
  scheduled: WireState.SCHEDULED,
  ready: WireState.READY,
  leased: WireState.LEASED,
  blocked: WireState.BLOCKED,
  dead: WireState.DEAD,
};
const OUTCOMES: Readonly<Record<AttemptOutcome, Attempt_Outcome>> = {
  nacked: Attempt_Outcome.NACKED,
  dead: Attempt_Outcome.DEAD,
  released: Attempt_Outcome.RELEASED,
  expired: Attempt_Outcome.EXPIRED,
};
const ON_DEAD: Readonly<Record<OnDead, WireOnDead>> = { skip: WireOnDead.SKIP, hold: WireOnDead.HOLD };

/** What happens to an event that fails. */
export interface RetryPolicy {
  /** How many times an event is retried before it is dead, 0 to 1,000,000. */
  maxRetries: number;
  /** The backoff before the first retry, 1 ms to 30 days. It doubles with each, and varies by ±20 % at random. */
  backoffInitialMs: number;
  /** The longest backoff. */
  backoffMaxMs: number;
}

/** How many deliveries may begin in a period; one that is released is refunded. */
export interface Rate {
  /** 1 to 1,000,000; at most 1,000,000 a second. */
  events: number;
  /** The period, 1 ms to 1 day. */
  perMs: number;
  /** How many may begin at once after a pause; left out: as many as may begin in 100 ms, at least 1. */
  burst?: number | undefined;
}

/** Limits on the deliveries to a group, across all its subscribers. */
export interface Limits {
  /** How many may be under way at once; 0 or left out: no limit. */
  maxInFlight?: number | undefined;
  /** How many may begin in a period; left out: no limit. */
  rate?: Rate | undefined;
}

/** How a group handles the events with the same key. */
export interface KeyPolicy {
  /** How many may be under way at once, 0 to 1,000: 1, the default, keeps them in order; with 0, keys are ignored. */
  maxInFlight?: number | undefined;
  /** How many deliveries of a key may begin in a period; left out: no limit. */
  rate?: Rate | undefined;
  /** `skip` by default. `hold` closes the key until the dead letter is redriven or purged. */
  onDead?: OnDead | undefined;
  /** How many events of a key may be blocked; 0 or left out: a tenth of the topic's `maxQueued`. */
  maxBlocked?: number | undefined;
}

/** The settings of a topic. */
export interface TopicConfig {
  retryPolicy: RetryPolicy;
  /** How long a delivery is leased unless the subscriber sets its own lease, 100 ms to 12 h. */
  leaseMs: number;
  /** How many events may wait, be leased or be scheduled; 0: no limit. */
  maxQueued: number;
  /** Dead letters are purged this long after they died; 0: never. */
  deadLetterRetentionMs: number;
  /** How long request ids, and ids of events that are gone, are remembered, 0 to 7 days. */
  dedupeWindowMs: number;
  /** How many partitions the events are spread over, 1 to 64. */
  partitions: number;
  /** Of each group that has none of its own; undefined: none. */
  limits: Limits | undefined;
  /** Of each group that has none of its own; undefined: the default. */
  keys: KeyPolicy | undefined;
}

type Some<T> = { [Name in keyof T]?: T[Name] | undefined };

/**
 * Settings to change; those that are left out stay. `limits` and `keys` replace the previous ones as a whole; `{}` removes
 * those.
 */
export type TopicChanges = Some<Omit<TopicConfig, "retryPolicy">> & { retryPolicy?: Some<RetryPolicy> | undefined };

/** How late deliveries were: estimates, within a power of two. */
export interface Lateness {
  /** What half of the deliveries did not exceed. */
  p50Ms: number;
  /** What 99 of 100 deliveries did not exceed. */
  p99Ms: number;
}

/** What a group did in one minute. */
export interface GroupMinute {
  group: string;
  delivered: number;
  acked: number;
  nacked: number;
  dead: number;
  /** Undefined if nothing was delivered. */
  lateness: Lateness | undefined;
}

/** What a topic did in one minute. */
export interface TopicMinute {
  /** When it began. */
  start: Date | undefined;
  dispatched: number;
  groups: GroupMinute[];
  /** Undefined if nothing was delivered. */
  lateness: Lateness | undefined;
}

/** One open stream. */
export interface Subscriber {
  sessionId: string;
  /** As the subscriber named itself; may be empty. */
  consumer: string;
  /** How many deliveries it holds. */
  inFlight: number;
  connectedAt: Date | undefined;
}

/** One group of a topic. */
export interface GroupInfo {
  /** Empty for the events that wait for the topic's first lasting group. */
  group: string;
  paused: boolean;
  /** It is removed after its last subscriber leaves. */
  ephemeral: boolean;
  /** How many of its events are in each state. */
  scheduled: number;
  ready: number;
  leased: number;
  blocked: number;
  dead: number;
  subscribers: Subscriber[];
  /** How long the ready event that has waited longest has been due; undefined if none is ready. */
  oldestReadyAgeMs: number | undefined;
  /** How long the blocked event that has waited longest has been due; undefined if none is blocked. */
  oldestBlockedAgeMs: number | undefined;
  /** Averages over the last minute, in events a second. */
  rates: { dispatched: number; delivered: number; acked: number; nacked: number };
  /** The policy in force. */
  retryPolicy: RetryPolicy;
  /** The limits in force; undefined: none. */
  limits: Limits | undefined;
  /** The key policy in force; undefined: the default. */
  keys: KeyPolicy | undefined;
  /** When the limits or a pause next allow a delivery; undefined while they hold nothing up. */
  throttledUntil: Date | undefined;
  /** Of the last five minutes; undefined if nothing was delivered. */
  lateness: Lateness | undefined;
}

/** A topic and its groups. */
export interface TopicInfo {
  topic: string;
  /** Undefined: one that this client is too old to know. */
  engine: Engine | undefined;
  config: TopicConfig;
  /** How many events it holds, each counted once; dead letters are not counted. */
  queued: number;
  groups: GroupInfo[];
  /** In a list: why the topic can't be shown; its other fields are then unknown. Otherwise empty. */
  problem: string;
  /** Whether its events outlive the server's process. */
  durable: boolean;
  /** Of the last five minutes; undefined if nothing was delivered. */
  lateness: Lateness | undefined;
  /** Of `getTopic`: the minutes of the last hour in which something happened, oldest first. */
  minutes: TopicMinute[];
}

/** One delivery of an event. */
export interface Attempt {
  /** Its number, from 1; it starts again after a redrive. */
  attempt: number;
  startedAt: Date | undefined;
  /** Undefined while it is under way. */
  endedAt: Date | undefined;
  consumer: string;
  /** Undefined while it is under way. */
  outcome: AttemptOutcome | "unknown" | undefined;
  error: string;
  /** When the event, dead since this attempt, was redriven. */
  redrivenAt: Date | undefined;
}

/** Where an event stands in one group. */
export interface EventGroupInfo {
  /** Empty while the topic has no group yet. */
  group: string;
  /** `unknown`: one that this client is too old to know. */
  state: EventState | "unknown";
  /** How many times it was delivered since it was last redriven; releases are not counted. */
  attempts: number;
  /** How many of them used up no retry, because their lease ran out. */
  freeAttempts: number;
  maxRetries: number;
  /** When it is, or was, due. */
  deliverAt: Date | undefined;
  /** The error of the last failed attempt. */
  lastError: string;
  /** While it is leased. */
  leaseExpiresAt: Date | undefined;
  /** Who holds it, while it is leased. */
  consumer: string;
  /** Once it is dead. */
  deadAt: Date | undefined;
  /** While it is blocked: the id of the event that it waits for; empty if there is none. */
  waitsFor: string;
  /** Of `getEvent`: the last 20 attempts, oldest first. */
  history: Attempt[];
}

/** An event and where it stands. */
export interface EventInfo {
  eventId: string;
  topic: string;
  data: Uint8Array;
  /** The caller may not see `data`, which is therefore empty. */
  dataWithheld: boolean;
  contentType: string;
  attributes: Readonly<Record<string, string>>;
  key: string;
  priority: number;
  /** Undefined: by the topic's retry policy. */
  maxRetries: number | undefined;
  dispatchedAt: Date | undefined;
  /** Of `getEvent`: where it was dispatched from, if the server knows. */
  dispatchedBy: string;
  /** In a list, the group asked for; of `getEvent`, each group that still holds the event. */
  groups: EventGroupInfo[];
}

/** A key in a group. */
export interface KeyInfo {
  key: string;
  /** How many of its events are blocked. */
  blocked: number;
  /** How many of its events are leased. */
  inFlight: number;
  /** The event that the blocked ones wait for. */
  headEventId: string;
  /** A dead letter holds the key closed. */
  held: boolean;
  /** When the key's rate, or a pause, next allows a delivery; undefined while neither holds it up. */
  opensAt: Date | undefined;
}

/** The result of a cancellation. */
export interface Cancelled {
  /** How many events lost at least one copy. */
  cancelled: number;
  /** Those of which a copy was leased or dead, and stays. */
  leasedEventIds: string[];
  /** Those that the topic, or the group, does not hold. */
  missingEventIds: string[];
}

export function stateToWire(state: EventState): WireState {
  if (!Object.hasOwn(STATES, state)) {
    throw invalid("state", `no state is called ${shown(state)}`);
  }
  return STATES[state];
}

/** Changes as a protobuf message, in which unset fields keep their value. */
export function changesToWire(changes: TopicChanges): WireConfig {
  const { retryPolicy: retries, limits, keys } = changes;
  return {
    retryPolicy: retries && {
      maxRetries: whole("config.retry_policy.max_retries", retries.maxRetries),
      backoffInitial: durationToWire("config.retry_policy.backoff_initial", retries.backoffInitialMs),
      backoffMax: durationToWire("config.retry_policy.backoff_max", retries.backoffMaxMs),
    },
    lease: durationToWire("config.lease", changes.leaseMs),
    maxQueued: large("config.max_queued", changes.maxQueued),
    deadLetterRetention: durationToWire("config.dead_letter_retention", changes.deadLetterRetentionMs),
    dedupeWindow: durationToWire("config.dedupe_window", changes.dedupeWindowMs),
    partitions: whole("config.partitions", changes.partitions),
    limits: limits && {
      maxInFlight: whole("config.limits.max_in_flight", limits.maxInFlight) ?? 0,
      rate: rateToWire("config.limits.rate", limits.rate),
    },
    keys: keys && {
      maxInFlight: whole("config.keys.max_in_flight", keys.maxInFlight),
      rate: rateToWire("config.keys.rate", keys.rate),
      onDead: onDeadToWire(keys.onDead),
      maxBlocked: large("config.keys.max_blocked", keys.maxBlocked) ?? 0n,
    },
  };
}

function rateToWire(field: string, rate: Rate | undefined): wire.Rate | undefined {
  return (
    rate && {
      events: whole(`${field}.events`, rate.events) ?? 0,
      per: durationToWire(`${field}.per`, rate.perMs),
      burst: whole(`${field}.burst`, rate.burst) ?? 0,
    }
  );
}

function onDeadToWire(onDead: OnDead | undefined): WireOnDead {
  if (onDead === undefined) {
    return WireOnDead.UNSPECIFIED;
  }
  if (!Object.hasOwn(ON_DEAD, onDead)) {
    throw invalid("config.keys.on_dead", `no choice is called ${shown(onDead)}`);
  }
  return ON_DEAD[onDead];
}

/** A uint32; undefined stays undefined. */
function whole(field: string, value: number | undefined): number | undefined {
  return value === undefined ? undefined : integer(field, value, 0, 2 ** 32 - 1);
}

/** A uint64; undefined stays undefined. */
function large(field: string, value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : BigInt(integer(field, value, 0, Number.MAX_SAFE_INTEGER));
}

export function readTopic(info: wire.TopicInfo = WireTopicInfo.create()): TopicInfo {
  return {
    ...info,
    engine: engineFromWire(info.engine)[0],
    config: readConfig(info.config),
    queued: Number(info.queued),
    groups: info.groups.map((each) => readGroup(each)),
    lateness: readLateness(info.lateness),
    minutes: info.minutes.map((each) => readMinute(each)),
  };
}

export function readConfig(config: wire.TopicConfig = WireConfig.create()): TopicConfig {
  return {
    retryPolicy: readRetries(config.retryPolicy),
    leaseMs: durationFromWire(config.lease),
    maxQueued: Number(config.maxQueued ?? 0),
    deadLetterRetentionMs: durationFromWire(config.deadLetterRetention),
    dedupeWindowMs: durationFromWire(config.dedupeWindow),
    partitions: config.partitions ?? 1,
    limits: readLimits(config.limits),
    keys: readKeys(config.keys),
  };
}

function readRetries(policy: wire.RetryPolicy | undefined): RetryPolicy {
  return {
    maxRetries: policy?.maxRetries ?? 0,
    backoffInitialMs: durationFromWire(policy?.backoffInitial),
    backoffMaxMs: durationFromWire(policy?.backoffMax),
  };
}

function readLimits(limits: wire.Limits | undefined): Limits | undefined {
  return limits && { maxInFlight: limits.maxInFlight, rate: readRate(limits.rate) };
}

function readKeys(keys: wire.KeyPolicy | undefined): KeyPolicy | undefined {
  return (
    keys && {
      maxInFlight: keys.maxInFlight ?? 1,
      rate: readRate(keys.rate),
      onDead: nameOf(ON_DEAD, keys.onDead),
      maxBlocked: Number(keys.maxBlocked),
    }
  );
}

function readRate(rate: wire.Rate | undefined): Rate | undefined {
  return rate && { events: rate.events, perMs: durationFromWire(rate.per), burst: rate.burst };
}

function readGroup({ oldestReadyAge, oldestBlockedAge, ...info }: wire.GroupInfo): GroupInfo {
  return {
    ...info,
    scheduled: Number(info.scheduled),
    ready: Number(info.ready),
    leased: Number(info.leased),
    blocked: Number(info.blocked),
    dead: Number(info.dead),
    oldestReadyAgeMs: age(oldestReadyAge),
    oldestBlockedAgeMs: age(oldestBlockedAge),
    rates: info.rates ?? { dispatched: 0, delivered: 0, acked: 0, nacked: 0 },
    retryPolicy: readRetries(info.retryPolicy),
    limits: readLimits(info.limits),
    keys: readKeys(info.keys),
    lateness: readLateness(info.lateness),
  };
}

function age(duration: Duration | undefined): number | undefined {
  return duration && durationFromWire(duration);
}

function readLateness(lateness: wire.Lateness | undefined): Lateness | undefined {
  return lateness && { p50Ms: durationFromWire(lateness.p50), p99Ms: durationFromWire(lateness.p99) };
}

function readMinute({ start, dispatched, groups, lateness }: wire.TopicMinute): TopicMinute {
  return {
    start,
    dispatched: Number(dispatched),
    groups: groups.map((each) => ({
      group: each.group,
      delivered: Number(each.delivered),
      acked: Number(each.acked),
      nacked: Number(each.nacked),
      dead: Number(each.dead),
      lateness: readLateness(each.lateness),
    })),
    lateness: readLateness(lateness),
  };
}

export function readEvent(info: wire.EventInfo = WireEventInfo.create()): EventInfo {
  const { event = WireEvent.create(), topic, dataWithheld, dispatchedAt, dispatchedBy } = info;
  const { id: eventId, data, contentType, attributes, key, priority, maxRetries } = event;
  const groups = info.groups.map((each) => ({
    ...each,
    state: nameOf(STATES, each.state) ?? ("unknown" as const),
    history: each.history.map((attempt) => ({ ...attempt, outcome: outcomeOf(attempt.outcome) })),
  }));
  return {
    eventId,
    topic,
    data,
    dataWithheld,
    contentType,
    attributes,
    key,
    priority,
    maxRetries,
    dispatchedAt,
    dispatchedBy,
    groups,
  };
}

function outcomeOf(outcome: Attempt_Outcome): Attempt["outcome"] {
  return outcome === Attempt_Outcome.UNSPECIFIED ? undefined : (nameOf(OUTCOMES, outcome) ?? "unknown");
}

export function readKey({ blocked, ...info }: wire.KeyInfo): KeyInfo {
  return { ...info, blocked: Number(blocked) };
}

function nameOf<Name extends string, Wire>(names: Readonly<Record<Name, Wire>>, value: Wire): Name | undefined {
  return (Object.keys(names) as Name[]).find((name) => names[name] === value);
}
