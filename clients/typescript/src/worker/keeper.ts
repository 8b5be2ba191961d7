import type { Client } from "../client.js";
import { heals, inBrief } from "../errors.js";
import type { Logger } from "../logger.js";
import type { LeaseFailure } from "../settle.js";
import type { LeaseClock } from "./clock.js";
import type { Leases } from "./leases.js";
import { Outage } from "./outage.js";

/** The shortest pause between extensions in ms, and the longest after a failure, regardless of lease and grace. */
const SHORTEST_MS = 20;
const RETRY_MS = 1000;

/** The parts that a keeper works with. */
export interface KeeperParts {
  client: Client;
  leases: Leases;
  clock: LeaseClock;
  logger: Logger;
  leaseMs: number;
  /** Called when leases were extended. */
  confirmed: () => void;
  /** Called with an error that no retry can cure. */
  fail: (error: unknown) => void;
  /** Ends the extending. */
  signal: AbortSignal;
}

/**
 * Extends the leases of one subscription while its deliveries are handled, wait, or are being settled: every third of a
 * lease. While no stream is open, every third of the disconnect grace, after which the leases of a broken stream
 * run out.
 */
export class Keeper {
  readonly #parts: KeeperParts;
  #leaseMs: number;
  #graceMs: number;
  #attached = false;
  #failed = false;
  #busy = false;
  #urgent = false;
  readonly #outage = new Outage();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
    this.#leaseMs = parts.leaseMs;
    this.#graceMs = parts.leaseMs;
    parts.signal.addEventListener("abort", () => clearTimeout(this.#timer), { once: true });
  }

  /** Notes that a stream is open: the server has renewed the leases that it named. */
  attach(leaseMs: number, graceMs: number): void {
    this.#leaseMs = leaseMs;
    this.#graceMs = graceMs;
    this.#attached = true;
    this.#schedule();
  }

  /** Notes that the stream has ended. */
  detach(): void {
    this.#attached = false;
    this.#schedule();
  }

  /** Extends all leases without waiting for the end of the period. */
  extendNow(): void {
    this.#urgent = true;
    this.#schedule();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (!this.#busy && !this.#parts.signal.aborted) {
      this.#timer = setTimeout(() => this.#run(), this.#periodMs());
    }
  }

  #periodMs(): number {
    if (this.#urgent) {
      return 0;
    }
    const length = this.#attached ? this.#leaseMs : Math.min(this.#leaseMs, this.#graceMs);
    const period = Math.max(length / 3, SHORTEST_MS);
    return this.#failed ? Math.min(period, RETRY_MS) : period;
  }

  #run(): void {
    this.#busy = true;
    this.#urgent = false;
    this.#extendAll()
      .catch(this.#parts.fail)
      .finally(() => {
        this.#busy = false;
        this.#schedule();
      });
  }

  async #extendAll(): Promise<void> {
    const { client, leases, clock, logger, signal, confirmed } = this.#parts;
    const tokens = leases.extendable();
    this.#failed = false;
    try {
      const askedAt = Date.now();
      const leaseMs = this.#leaseMs;
      // An answer that comes after the lease has run out is useless.
      const failures = await client.extend(tokens, leaseMs, { timeoutMs: leaseMs, signal });
      this.#outage.over();
      this.#drop(failures);
      const failed = new Set(failures.map(({ leaseToken }) => leaseToken));
      const extended = leases.find(tokens.filter((token) => !failed.has(token)));
      clock.confirm(extended, askedAt, leaseMs);
      confirmed();
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      if (!heals(error)) {
        throw error;
      }
      this.#failed = true;
      logger[this.#outage.level()]("leases could not be extended", {
        count: tokens.length,
        error: inBrief(error),
      });
    }
  }

  /** Ends lost leases. Those of a stopped engine are kept: another replica may still accept them. */
  #drop(failures: readonly LeaseFailure[]): void {
    const tokens = failures.filter(({ reason }) => reason !== "engine_stopped").map(({ leaseToken }) => leaseToken);
    const lost = this.#parts.leases.lose(tokens);
    if (lost > 0) {
      this.#parts.logger.warn("leases were lost; their handlers were cancelled", { count: lost });
    }
  }
}
