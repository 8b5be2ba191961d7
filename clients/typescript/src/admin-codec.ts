import type {
  Attempt,
  AttemptOutcome,
  EventInfo,
  EventState,
  GroupInfo,
  KeyInfo,
  KeyPolicy,
  Lateness,
  Limits,
  OnDead,
  Rate,
  RetryPolicy,
  TopicChanges,
  TopicConfig,
  TopicInfo,
  TopicMinute,
} from "./admin-types.js";
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
import { choice, durationFromWire, durationToWire, engineFromWire, integer, MAX_UINT32, nameOf } from "./values.js";

export const STATES: Readonly<Record<EventState, WireState>> = {
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
      onDead: keys.onDead === undefined ? WireOnDead.UNSPECIFIED : choice("config.keys.on_dead", ON_DEAD, keys.onDead),
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

/** A uint32; undefined stays undefined. */
function whole(field: string, value: number | undefined): number | undefined {
  return value === undefined ? undefined : integer(field, value, 0, MAX_UINT32);
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
