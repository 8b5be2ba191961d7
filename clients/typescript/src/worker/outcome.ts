import { invalid } from "../errors.js";
import type { Nack } from "../settle.js";

/** How much of an error the bus keeps. */
const MAX_ERROR_BYTES = 4096;
const UNPRINTABLE = "an error that can't be printed";
const MAX_DELAY_MS = 3650 * 24 * 3_600_000;

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
    if (!(delayMs >= 0 && delayMs <= MAX_DELAY_MS)) {
      throw invalid("delay", `must be 0 to 10 years, not ${delayMs} ms`);
    }
    this.delayMs = delayMs;
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

/** What a handler's error means for its event. Anything can be thrown, even a value that can't be inspected. */
export function nackOf(leaseToken: string, error: unknown): Nack {
  try {
    return decided(leaseToken, error);
  } catch {
    return { leaseToken, error: UNPRINTABLE };
  }
}

function decided(leaseToken: string, error: unknown): Nack {
  if (error instanceof Release) {
    return { leaseToken, release: true };
  }
  const nack: Nack = { leaseToken, error: cut(inWords(error)) };
  if (error instanceof DeadLetter) {
    nack.deadLetter = true;
  } else if (error instanceof RetryAfter) {
    nack.delayMs = error.delayMs;
  }
  return nack;
}

function inWords(error: unknown): string {
  if (!(error instanceof Error)) {
    return String(error);
  }
  if (error.name === "Error" || error instanceof RetryAfter || error instanceof DeadLetter) {
    return String(error.message || error.name);
  }
  return String(error);
}

/** The text, cut to 4 KiB of UTF-8. */
function cut(text: string): string {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(MAX_ERROR_BYTES));
  return text.slice(0, read).toWellFormed();
}
