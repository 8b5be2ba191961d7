import type { Delivery } from "../delivery.js";
import { invalid } from "../errors.js";
import { type Nack, type PauseScope, scopeToWire } from "../settle.js";
import { shown } from "../values.js";

/** How much of an error the bus keeps. */
const MAX_ERROR_BYTES = 4096;
const UNPRINTABLE = "an error that can't be printed";
const MAX_DELAY_MS = 3650 * 24 * 3_600_000;
const MIN_PAUSE_MS = 1;
const MAX_PAUSE_MS = 3_600_000;

/** Thrown by a handler to retry the event after a delay; it is dead if no retries are left. */
export class RetryAfter extends Error {
  override readonly name = "RetryAfter";
  readonly delayMs: number;

  /**
   * @param delayMs 0 to 10 years.
   * @param message becomes the event's last error.
   * @throws DueBusError `INVALID_ARGUMENT` when the delay is out of range.
   */
  constructor(delayMs: number, message = `retry after ${delayMs} ms`, options?: ErrorOptions) {
    super(message, options);
    if (typeof delayMs !== "number" || !(delayMs >= 0 && delayMs <= MAX_DELAY_MS)) {
      throw invalid("delay", `must be 0 to 10 years in ms, not ${shown(delayMs)}`);
    }
    this.delayMs = delayMs;
  }
}

/**
 * Thrown by a handler whose work was refused because there is too much of it, for example with the HTTP status 429:
 * nothing of the event's key, or of its group, is delivered for a while, to any worker, and the attempt is not counted. If
 * the event has no key that could be paused, it is retried after that time.
 */
export class RateLimited extends Error {
  override readonly name = "RateLimited";
  readonly afterMs: number;
  readonly scope: PauseScope;

  /**
   * @param afterMs how long; less than 1 ms is 1 ms, and more than 1 h is 1 h.
   * @param message for the log.
   * @throws DueBusError `INVALID_ARGUMENT` when the time is not a number, or the scope is neither of the two.
   */
  constructor(
    afterMs: number,
    scope: PauseScope = "key",
    message = `rate limited for ${afterMs} ms`,
    options?: ErrorOptions,
  ) {
    super(message, options);
    if (typeof afterMs !== "number" || Number.isNaN(afterMs)) {
      throw invalid("after", `is not a number of ms: ${shown(afterMs)}`);
    }
    scopeToWire("scope", scope);
    this.afterMs = Math.min(Math.max(afterMs, MIN_PAUSE_MS), MAX_PAUSE_MS);
    this.scope = scope;
  }
}

/** Thrown by a handler to make the event a dead letter at once, if a retry can't help. */
export class DeadLetter extends Error {
  override readonly name = "DeadLetter";
}

/**
 * Thrown by a handler to release the event: it is ready again at once, and the attempt is not counted.
 */
export class Release extends Error {
  override readonly name = "Release";
}

const DECISIONS = [RetryAfter, RateLimited, DeadLetter];

/** What a handler's error means for its event. Anything can be thrown, even a value that can't be inspected. */
export function nackOf(delivery: Delivery, error: unknown): Nack {
  try {
    return decided(delivery, error);
  } catch {
    return { leaseToken: delivery.leaseToken, error: UNPRINTABLE };
  }
}

/** The nack without its pause: a retry after the same time. */
export function retryInstead({ pause, ...nack }: Nack): Nack {
  return { ...nack, delayMs: pause?.durationMs };
}

function decided({ leaseToken, key }: Delivery, error: unknown): Nack {
  if (error instanceof Release) {
    return { leaseToken, release: true };
  }
  const nack: Nack = { leaseToken, error: cut(inWords(error)) };
  if (error instanceof DeadLetter) {
    nack.deadLetter = true;
  } else if (error instanceof RetryAfter) {
    nack.delayMs = error.delayMs;
  } else if (error instanceof RateLimited) {
    nack.pause = { durationMs: error.afterMs, scope: error.scope };
    return error.scope === "key" && key === "" ? retryInstead(nack) : nack;
  }
  return nack;
}

function inWords(error: unknown): string {
  if (!(error instanceof Error)) {
    return String(error);
  }
  if (error.name === "Error" || DECISIONS.some((decision) => error instanceof decision)) {
    return String(error.message || error.name);
  }
  return String(error);
}

/** The text, cut to 4 KiB of UTF-8. */
function cut(text: string): string {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(MAX_ERROR_BYTES));
  return text.slice(0, read).toWellFormed();
}
