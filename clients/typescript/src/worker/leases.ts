import type { Delivery } from "../delivery.js";
import type { Changes } from "./changes.js";

/**
 * The stage of a delivery in this worker.
 *
 * ```
 * waiting --start--> running --handler has ended--> settling --settled--> gone
 *    |                  |--cancelled--> cancelled ------^
 *    |--released----------------------------------------|
 * from every stage: --lease lost--> gone
 * ```
 *
 * A lease that is `cancelled` is no longer extended, so that a handler that doesn't end can't hold the event
 * forever. One that is `gone` must not be settled.
 */
export type Stage = "waiting" | "running" | "cancelled" | "settling" | "gone";

/** Why a handler is cancelled. */
export type Cause = "max_execution" | "stopped" | "lease_lost";

const MEANING: Readonly<Record<Cause, string>> = {
  max_execution: "the handler ran for too long",
  stopped: "the worker stops",
  lease_lost: "the lease was lost",
};

/** One delivery and the state of its handling. */
export class Lease {
  readonly delivery: Delivery;
  #abort: AbortController | undefined;
  stage: Stage = "waiting";
  cause: Cause | undefined;
  /** The handler did not end when it was cancelled; it keeps its slot until it does. */
  leftBehind = false;
  /** A settle was sent, and its outcome is unknown. */
  tried = false;
  /** When the lease runs out, in ms by this host's clock, unless it has been extended meanwhile. */
  expiresAt = Number.POSITIVE_INFINITY;
  /** How many ms this host's clock was ahead of the engine's when the delivery arrived, if it arrived instantly. */
  leadMs = 0;

  constructor(delivery: Delivery) {
    this.delivery = delivery;
  }

  get token(): string {
    return this.delivery.leaseToken;
  }

  /** Called when the handler is cancelled. */
  onCancel: (() => void) | undefined;

  /** Ends when the handler is cancelled. It is made when the handler asks for it: most do not, and it takes time. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      this.#abortIfCancelled();
    }
    return this.#abort.signal;
  }

  /** Cancels the handler. Does nothing if it is not running, or the second time. */
  cancel(cause: Cause): void {
    if (this.stage === "running") {
      this.stage = "cancelled";
      this.cause = cause;
      this.#abortIfCancelled();
      this.onCancel?.();
    }
  }

  #abortIfCancelled(): void {
    if (this.cause !== undefined) {
      this.#abort?.abort(new DOMException(MEANING[this.cause], "AbortError"));
    }
  }

  /** Names it in the log; the logger adds topic and group. */
  about(): { event: string; attempt: number } {
    return { event: this.delivery.eventId, attempt: this.delivery.attempt };
  }
}

/** The leases that one subscription holds, by lease token. */
export class Leases {
  readonly #held = new Map<string, Lease>();
  readonly #changes: Changes;

  constructor(changes: Changes) {
    this.#changes = changes;
  }

  get size(): number {
    return this.#held.size;
  }

  /** Adds a new delivery, waiting. */
  add(delivery: Delivery): Lease {
    const lease = new Lease(delivery);
    this.#held.set(lease.token, lease);
    return lease;
  }

  /** The tokens whose lease is held. */
  find(tokens: readonly string[]): Lease[] {
    return tokens.map((token) => this.#held.get(token)).filter((lease) => lease !== undefined);
  }

  /** Ends a lease that was settled. */
  discard(lease: Lease): void {
    lease.stage = "gone";
    this.#held.delete(lease.token);
    this.#changes.notify();
  }

  /**
   * Ends leases that the server reports as lost, and cancels their handlers.
   *
   * @returns how many, without those being settled: there their settle was faster than the question.
   */
  lose(tokens: readonly string[]): number {
    const lost = this.find(tokens);
    const unsettled = lost.filter((lease) => lease.stage !== "settling").length;
    for (const lease of lost) {
      lease.cancel("lease_lost");
      this.discard(lease);
    }
    return unsettled;
  }

  /** Cancels all running handlers. */
  cancelAll(cause: Cause): void {
    for (const lease of [...this.#held.values()]) {
      lease.cancel(cause);
    }
  }

  /** All leases held, including those that are being settled. */
  tokens(): string[] {
    return [...this.#held.keys()];
  }

  /** The leases to extend. */
  extendable(): string[] {
    return [...this.#held.values()].filter((lease) => lease.stage !== "cancelled").map((lease) => lease.token);
  }
}
