import { setTimeout as sleep } from "node:timers/promises";
import type { MethodDefinition } from "@grpc/grpc-js";
import type { Connection, TryOptions } from "./connection.js";
import { DueBusError, invalid } from "./errors.js";
import { shown } from "./values.js";

/** The options of a call. */
export interface CallOptions {
  /** How long the call may take, including retries; the client's timeout by default. `Infinity`: no limit. */
  timeoutMs?: number | undefined;
  /** Ends the call, which rejects with `CANCELLED`. */
  signal?: AbortSignal | undefined;
}

/**
 * The limits of a call.
 *
 * @param otherwise the timeout of one that does not set its own; `Infinity`: no limit.
 * @throws DueBusError `INVALID_ARGUMENT` when the timeout is not positive, or the signal is none.
 */
export function limitsOf({ signal, timeoutMs }: CallOptions, otherwise: number): TryOptions {
  const limit = timeoutMs ?? otherwise;
  if (typeof limit !== "number" || !(limit > 0)) {
    throw invalid("timeout", `must be a positive number of ms, not ${shown(limit)}`);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalid("signal", `is not an AbortSignal: ${shown(signal)}`);
  }
  return { signal, timeoutMs: limit };
}

/**
 * Pauses in ms that double from `initial` to `most`, each cut at random by up to half: the jitter keeps clients from
 * reconnecting all at once when a server restarts.
 */
export class Backoff {
  readonly #initial: number;
  readonly #most: number;
  #next: number;

  constructor(initial: number, most: number) {
    this.#initial = initial;
    this.#most = most;
    this.#next = initial;
  }

  next(): number {
    const pause = this.#next;
    this.#next = Math.min(this.#most, pause * 2);
    return pause * (0.5 + Math.random() / 2);
  }

  reset(): void {
    this.#next = this.#initial;
  }
}

/**
 * The pauses of a worker. Short at first, because most broken streams can be reopened at once. Always below 3 s, after
 * which the leases of a killed server run out unless a worker has named them.
 */
export function reconnectBackoff(): Backoff {
  return new Backoff(100, 1000);
}

/** The limits of a call, over all its tries. */
export interface RepeatOptions extends TryOptions {
  /** Gets each failure that a retry may cure. */
  onFailure?: (failure: DueBusError) => void;
}

/**
 * Makes a call with as many attempts as its deadline allows, and reports whether there was more than one. `UNAVAILABLE`
 * is retried, and so is a call that the server has cancelled, as it does when there are too many at once; everything
 * else is reported at once. If the deadline passes during an attempt, the error is that of the
 * attempt before, which says more.
 */
export async function repeated<Request, Response>(
  connection: Connection,
  method: MethodDefinition<Request, Response>,
  request: Request,
  options: RepeatOptions,
): Promise<{ response: Response; again: boolean }> {
  const end = performance.now() + options.timeoutMs;
  const pauses = new Backoff(100, 2000);
  let last: DueBusError | undefined;
  for (;;) {
    try {
      const timeoutMs = Math.max(1, end - performance.now());
      const response = await connection.unary(method, request, { ...options, timeoutMs });
      return { response, again: last !== undefined };
    } catch (error) {
      last = repeatable(error, last, options.signal);
    }
    options.onFailure?.(last);
    const pause = Math.max(pauses.next(), last.retryAfterMs ?? 0);
    if (performance.now() + pause >= end) {
      throw last;
    }
    await pauseFor(pause, options.signal);
  }
}

/** The error of a try that a retry may cure; otherwise throws the error to report. */
function repeatable(error: unknown, last: DueBusError | undefined, signal: AbortSignal | undefined): DueBusError {
  const cancelledByServer = (each: DueBusError) => each.is("CANCELLED") && signal?.aborted !== true;
  if (error instanceof DueBusError && (error.is("UNAVAILABLE") || cancelledByServer(error))) {
    return error;
  }
  throw error instanceof DueBusError && error.is("DEADLINE_EXCEEDED") && last !== undefined ? last : error;
}

/** Ends early when the signal does: the next try reports that. */
async function pauseFor(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, signal === undefined ? {} : { signal }).catch(() => {});
}
