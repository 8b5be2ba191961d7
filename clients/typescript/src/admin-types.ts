import type { Engine } from "./values.js";

/** Where an event stands in one group; `blocked`: it is due, but its key is taken. */
export type EventState = "scheduled" | "ready" | "leased" | "blocked" | "dead";

/** How a delivery ended: nacked to be retried, nacked as dead, given back unhandled, or its lease ran out. */
export type AttemptOutcome = "nacked" | "dead" | "released" | "expired";

/** What happens to a key when one of its events becomes dead: the next one is delivered, or none. */
export type OnDead = "skip" | "hold";

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
