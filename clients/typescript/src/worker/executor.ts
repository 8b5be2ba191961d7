import type { Delivery } from "../delivery.js";
import type { Logger } from "../logger.js";
import type { Nack } from "../settle.js";
import type { Changes } from "./changes.js";
import type { LeaseClock } from "./clock.js";
import type { Lease, Leases } from "./leases.js";
import { nackOf, Release } from "./outcome.js";
import type { Settler } from "./settler.js";

/** How long a cancelled handler may take to end before its event is settled without it. */
export const CANCEL_GRACE_MS = 1000;

/** The context of a handler. */
export interface HandlerContext {
  /**
   * Aborts when the handler ran for too long, when the worker stops and no longer waits, or when the lease was
   * lost; its `reason` says which. Pass it on to everything that the handler awaits.
   */
  signal: AbortSignal;
}

/**
 * Handles one delivery. What happens to the event:
 *
 * - it returns, or its promise resolves: acked;
 * - it throws, or its promise rejects: nacked with the message, retried after the topic's backoff;
 * - it throws a `RetryAfter`, `DeadLetter` or `Release`: what they ask for;
 * - its signal aborts because it ran for too long or the worker stops: nacked, or released. Its result is then
 *   ignored. A handler that has not ended a second later is abandoned: it keeps its slot until it ends;
 * - its signal aborts because the lease was lost: nothing is settled, because another worker may have the event.
 *
 * A handler that blocks the event loop keeps leases from being extended: run long computations on a worker thread.
 */
export type Handler = (delivery: Delivery, context: HandlerContext) => unknown;

/** How a handler ended. */
type Outcome = { ok: true } | { ok: false; error: unknown };

/** The parts that an executor works with. */
export interface ExecutorParts {
  handler: Handler;
  concurrency: number;
  maxExecutionMs: number;
  leases: Leases;
  clock: LeaseClock;
  settler: Settler;
  changes: Changes;
  logger: Logger;
  /** Called when the lease of the next delivery may have run out; call `startWaiting` when that is known. */
  doubt: () => void;
}

/** Runs the handler of one subscription's deliveries, a limited number at a time; the others wait in order of arrival. */
export class Executor {
  readonly #parts: ExecutorParts;
  readonly #queue: Lease[] = [];
  #running = 0;
  #leftBehind = 0;
  #paused = false;
  /** How many frames of deliveries have come. */
  arrivals = 0;

  constructor(parts: ExecutorParts) {
    this.#parts = parts;
  }

  /** Whether all handlers have ended, except abandoned ones. */
  get idle(): boolean {
    return this.#running === 0;
  }

  /** Abandoned handlers take all slots. */
  get stuck(): boolean {
    return this.#leftBehind >= this.#parts.concurrency;
  }

  /** Takes deliveries and starts as many as there are slots for. */
  accept(deliveries: readonly Delivery[]): void {
    this.arrivals += 1;
    for (const each of deliveries) {
      const lease = this.#parts.leases.add(each);
      this.#parts.clock.arrived(lease);
      this.#queue.push(lease);
    }
    this.startWaiting();
    this.#parts.changes.notify();
  }

  /** Stops starting handlers. */
  pause(): void {
    this.#paused = true;
  }

  /** Releases the deliveries that were not started. */
  release(): void {
    for (const lease of this.#queue.splice(0)) {
      if (lease.stage === "waiting") {
        this.#parts.settler.nack(lease, { leaseToken: lease.token, release: true });
      }
    }
  }

  /** Starts as many deliveries as there are slots for, up to a delivery whose lease may have run out. */
  startWaiting(): void {
    while (!this.#paused && this.#running + this.#leftBehind < this.#parts.concurrency) {
      const lease = this.#queue[0];
      if (lease === undefined) {
        return;
      }
      if (lease.stage === "waiting" && Date.now() > lease.expiresAt) {
        this.#parts.doubt();
        return;
      }
      this.#queue.shift();
      if (lease.stage === "waiting") {
        this.#start(lease);
      }
    }
  }

  #start(lease: Lease): void {
    lease.stage = "running";
    this.#running += 1;
    const deadline = setTimeout(() => lease.cancel("max_execution"), this.#parts.maxExecutionMs);
    let grace: NodeJS.Timeout | undefined;
    lease.onCancel = () => {
      grace = setTimeout(() => this.#leaveBehind(lease), CANCEL_GRACE_MS);
    };
    this.#invoke(lease).then((outcome) => {
      clearTimeout(deadline);
      clearTimeout(grace);
      lease.onCancel = undefined;
      this.#ended(lease, outcome);
    });
  }

  async #invoke(lease: Lease): Promise<Outcome> {
    const context = {
      get signal(): AbortSignal {
        return lease.signal;
      },
    };
    try {
      await this.#parts.handler(lease.delivery, context);
      return { ok: true };
    } catch (error) {
      return { ok: false, error };
    }
  }

  #ended(lease: Lease, outcome: Outcome): void {
    if (lease.leftBehind) {
      this.#leftBehind -= 1;
    } else {
      this.#running -= 1;
      this.#settle(lease, outcome);
    }
    this.startWaiting();
    this.#parts.changes.notify();
  }

  /** Settles an event whose cancelled handler doesn't end. */
  #leaveBehind(lease: Lease): void {
    lease.leftBehind = true;
    this.#running -= 1;
    this.#leftBehind += 1;
    this.#parts.logger.error("a cancelled handler has not ended; it keeps its slot until it does", lease.about());
    this.#settle(lease, { ok: true });
    this.#parts.changes.notify();
  }

  /** Acks, nacks or releases an event, by how its handler ended or why it was cancelled. */
  #settle(lease: Lease, outcome: Outcome): void {
    if (lease.stage !== "running" && lease.stage !== "cancelled") {
      return;
    }
    const { ok, error } = { error: undefined, ...this.#judged(lease, outcome) };
    if (ok) {
      this.#parts.settler.ack(lease);
      return;
    }
    const nack = nackOf(lease.delivery, error);
    this.#parts.settler.nack(lease, nack);
    try {
      this.#report(lease, error, nack);
    } catch {
      // A logger may fail, above all on what a handler has thrown. The event is settled nevertheless.
    }
  }

  #judged(lease: Lease, outcome: Outcome): Outcome {
    switch (lease.cause) {
      case "stopped":
        return { ok: false, error: new Release() };
      case "max_execution": {
        const message = `cancelled: the handler ran for longer than ${this.#parts.maxExecutionMs} ms`;
        return { ok: false, error: new Error(message) };
      }
      default:
        return outcome;
    }
  }

  #report(lease: Lease, error: unknown, nack: Nack): void {
    const { logger } = this.#parts;
    if (nack.release) {
      logger.debug("an event was released", lease.about());
    } else if (nack.deadLetter) {
      logger.warn("an event was dead-lettered", { ...lease.about(), error: nack.error });
    } else if (nack.pause !== undefined) {
      logger.info("a handler asked for a pause", { ...lease.about(), error: nack.error, ...nack.pause });
    } else if (nack.delayMs !== undefined) {
      logger.info("a handler asked for a retry", { ...lease.about(), error: nack.error });
    } else {
      logger.warn("a handler failed", { ...lease.about(), error: error ?? nack.error });
    }
  }
}
