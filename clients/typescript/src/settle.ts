import { invalid } from "./errors.js";
import type { LeaseFailure as WireFailure, Nack as WireNack } from "./generated/duebus/v1/event_bus.js";
import { LeaseFailure_Reason as WireReason, Nack_Pause_Scope as WireScope } from "./generated/duebus/v1/event_bus.js";
import { choice, durationToWire, list, text } from "./values.js";

/** The most leases that the server accepts in one call. */
const MAX_LEASES = 10_000;
/** In a request of lease tokens or nacks, the bytes of its other fields, and those of an item besides its text. */
const OTHER_FIELDS = 4 << 10;
const ITEM_FIELDS = 32;

/**
 * Why a lease was not settled or extended. `expired`: the event is still there, but this lease is not its lease any
 * more. `settled`: the event is gone: acked, dead or cancelled. `malformed`: not a lease token of this bus.
 * `engine_stopped`: the engine is stopped, or this server does not run it. `no_key`: a pause of the key of an event that
 * has none, or in a group that ignores keys; the delivery is still held. `unknown`: this client is too old to know.
 */
export type LeaseFailureReason = "expired" | "settled" | "malformed" | "engine_stopped" | "no_key" | "unknown";

/** A lease that was not settled or extended. Nothing was changed. */
export interface LeaseFailure {
  leaseToken: string;
  reason: LeaseFailureReason;
}

/** Gives one delivery back. At most one of `delayMs`, `deadLetter` and `release`; without one, the topic's backoff. */
export interface Nack {
  leaseToken: string;
  /** The reason, kept as the event's last error and cut to 4 KiB. */
  error?: string | undefined;
  /** When to retry it, 0 to 10 years, if retries are left. */
  delayMs?: number | undefined;
  /** Make it a dead letter at once. */
  deadLetter?: boolean | undefined;
  /** Make it ready again at once, without counting the attempt. */
  release?: boolean | undefined;
  /**
   * Also hold up the deliveries of the event's key or of its group. Without `delayMs`, `deadLetter` and `release`, the
   * event is then released.
   */
  pause?: Pause | undefined;
}

/** What a pause holds up: the events with the key of the one that is given back, or all events of its group. */
export type PauseScope = "key" | "group";

/** Holds up deliveries for a while, because a service that the handler calls is overloaded. */
export interface Pause {
  /** How long, from now: 1 ms to 1 h. */
  durationMs: number;
  scope: PauseScope;
}

const SCOPES: Readonly<Record<PauseScope, WireScope>> = { key: WireScope.KEY, group: WireScope.GROUP };

const REASONS = new Map<WireReason, LeaseFailureReason>([
  [WireReason.EXPIRED, "expired"],
  [WireReason.SETTLED, "settled"],
  [WireReason.MALFORMED, "malformed"],
  [WireReason.ENGINE_STOPPED, "engine_stopped"],
  [WireReason.NO_KEY, "no_key"],
]);

/** The failures of a retried settle whose first attempt may have taken effect. */
export const DONE_BY_LOST_ACK: readonly LeaseFailureReason[] = ["settled"];
export const DONE_BY_LOST_NACK: readonly LeaseFailureReason[] = ["settled", "expired"];

/**
 * The failures of an answer.
 *
 * @param done failures to leave out: the lease is over, and nothing is left for the caller to do.
 */
export function readFailures(
  answered: readonly WireFailure[],
  done: readonly LeaseFailureReason[] = [],
): LeaseFailure[] {
  return answered
    .map(({ leaseToken, reason }) => ({ leaseToken, reason: REASONS.get(reason) ?? "unknown" }))
    .filter(({ reason }) => !done.includes(reason));
}

export function tokensToWire(leaseTokens: readonly string[]): string[] {
  return list("lease_tokens", leaseTokens).map((token, index) => text(`lease_tokens[${index}]`, token));
}

export function nacksToWire(nacks: readonly Nack[]): WireNack[] {
  return list("nacks", nacks).map((nack, index) => nackToWire(nack, `nacks[${index}].`));
}

function nackToWire(nack: Nack, path: string): WireNack {
  const leaseToken = text(`${path}lease_token`, nack.leaseToken);
  const error = text(`${path}error`, nack.error);
  return { leaseToken, error, action: action(nack, path), pause: pauseToWire(nack.pause, `${path}pause.`) };
}

function pauseToWire(pause: Pause | undefined, path: string): WireNack["pause"] {
  if (pause === undefined) {
    return undefined;
  }
  const scope = scopeToWire(`${path}scope`, pause.scope);
  return { duration: durationToWire(`${path}duration`, pause.durationMs), scope };
}

export function scopeToWire(field: string, scope: PauseScope): WireScope {
  return choice(field, SCOPES, scope);
}

function action(nack: Nack, path: string): WireNack["action"] {
  const delay = durationToWire(`${path}delay`, nack.delayMs);
  const wanted = [delay !== undefined, nack.deadLetter, nack.release].filter(Boolean).length;
  if (wanted > 1) {
    throw invalid(`${path}action`, "only one of delay, dead_letter and release can be set");
  }
  if (delay !== undefined) {
    return { $case: "delay", delay };
  }
  if (nack.deadLetter) {
    return { $case: "deadLetter", deadLetter: true };
  }
  return nack.release ? { $case: "release", release: true } : undefined;
}

/** The bytes of the texts of a nack. */
export function nackSize({ leaseToken, error = "" }: { leaseToken: string; error?: string | undefined }): number {
  return Buffer.byteLength(leaseToken) + Buffer.byteLength(error);
}

/**
 * How many of the first items fit into one request: at least one.
 *
 * @param most the most that the server accepts, regardless of their size.
 */
export function fitting<T>(
  items: readonly T[],
  maxBytes: number,
  size: (item: T) => number,
  most = MAX_LEASES,
): number {
  let left = maxBytes - OTHER_FIELDS;
  const tooMany = items.slice(0, most).findIndex((item) => {
    left -= size(item) + ITEM_FIELDS;
    return left < 0;
  });
  return tooMany < 0 ? Math.min(items.length, most) : Math.max(tooMany, 1);
}

/** Splits items into parts that fit into one request each. */
export function* batches<T>(items: readonly T[], maxBytes: number, size: (item: T) => number): Generator<T[]> {
  for (let rest = items; rest.length > 0; ) {
    const count = fitting(rest, maxBytes, size);
    yield rest.slice(0, count);
    rest = rest.slice(count);
  }
}
