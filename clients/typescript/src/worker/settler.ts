import { setImmediate as nextTurn } from "node:timers/promises";
import type { Client } from "../client.js";
import { heals, inBrief } from "../errors.js";
import { EventBusService, type LeaseFailure as WireFailure } from "../generated/duebus/v1/event_bus.js";
import type { Logger } from "../logger.js";
import { reconnectBackoff } from "../retry.js";
import { fitting, type LeaseFailure, type Nack, nackSize, nacksToWire, readFailures } from "../settle.js";
import type { Changes } from "./changes.js";
import type { Lease, Leases } from "./leases.js";
import { Outage } from "./outage.js";
import { retryInstead } from "./outcome.js";

/** The parts that a settler works with. */
export interface SettlerParts {
  client: Client;
  leases: Leases;
  changes: Changes;
  logger: Logger;
  /** Called with an error that no retry can cure. */
  fail: (error: unknown) => void;
  /** Ends open calls. */
  signal: AbortSignal;
}

/** A lease to settle; without a nack it is acked. */
interface Settlement {
  lease: Lease;
  nack?: Nack;
}

function sizeOf({ lease, nack }: Settlement): number {
  return nackSize(nack ?? { leaseToken: lease.token });
}

type Send = (batch: readonly Settlement[]) => Promise<{ failures: WireFailure[] }>;

/**
 * Sends acks and nacks, in batches. What is settled while no call is in flight is sent at once; what accumulates during
 * a call goes into the next. Nothing is dropped while its lease is held.
 */
export class Settler {
  readonly #acks: Lane;
  readonly #nacks: Lane;

  constructor(parts: SettlerParts) {
    const { connection, timeoutMs } = parts.client;
    const limits = { timeoutMs, signal: parts.signal };
    const tokens = (batch: readonly Settlement[]): string[] => batch.map(({ lease }) => lease.token);
    const nacks = (batch: readonly Settlement[]): Nack[] => batch.flatMap(({ nack }) => nack ?? []);
    // One attempt each: the lanes retry them.
    this.#acks = new Lane("ack", parts, async (batch) =>
      connection.unary(EventBusService.ack, { leaseTokens: tokens(batch) }, limits),
    );
    this.#nacks = new Lane("nack", parts, async (batch) =>
      connection.unary(EventBusService.nack, { nacks: nacksToWire(nacks(batch)) }, limits),
    );
  }

  ack(lease: Lease): void {
    lease.stage = "settling";
    this.#acks.put({ lease });
  }

  nack(lease: Lease, nack: Nack): void {
    lease.stage = "settling";
    this.#nacks.put({ lease, nack });
  }

  /** Sends nothing until `resume`, because each settle makes the server send more. */
  hold(): void {
    this.#acks.hold(true);
    this.#nacks.hold(true);
  }

  resume(): void {
    this.#acks.hold(false);
    this.#nacks.hold(false);
  }

  /** Sends now what waits for the next try, because the server can be reached again. */
  retryNow(): void {
    this.#acks.retryNow();
    this.#nacks.retryNow();
  }
}

/** The settlements of one kind, one call at a time. */
class Lane {
  readonly #kind: string;
  readonly #parts: SettlerParts;
  readonly #send: Send;
  readonly #pauses = reconnectBackoff();
  readonly #outage = new Outage();
  #pending: Settlement[] = [];
  #held = false;
  #busy = false;
  #again = false;

  constructor(kind: string, parts: SettlerParts, send: Send) {
    this.#kind = kind;
    this.#parts = parts;
    this.#send = send;
  }

  put(settlement: Settlement): void {
    this.#pending.push(settlement);
    this.#wake();
  }

  hold(held: boolean): void {
    this.#held = held;
    this.#wake();
  }

  retryNow(): void {
    this.#again = true;
    this.#parts.changes.notify();
  }

  #wake(): void {
    if (!this.#busy && !this.#held && this.#pending.length > 0) {
      this.#busy = true;
      this.#run().catch(this.#parts.fail);
    }
  }

  async #run(): Promise<void> {
    try {
      // Handlers that end in the same turn of the event loop share the first call.
      await nextTurn();
      for (let batch = this.#take(); batch.length > 0; batch = this.#take()) {
        this.#again = false;
        if (!(await this.#deliver(batch))) {
          await this.#parts.changes.until(() => this.#again || this.#parts.signal.aborted, this.#pauses.next());
        }
      }
    } finally {
      // Synchronously after the last look at what is pending, so that whatever is added from now on starts a new run.
      this.#busy = false;
    }
  }

  /** The next batch, without those whose lease was lost meanwhile; none if there is nothing to send. */
  #take(): Settlement[] {
    while (this.#pending.length > 0 && !this.#held && !this.#parts.signal.aborted) {
      const count = fitting(this.#pending, this.#parts.client.connection.maxRequestBytes, sizeOf);
      const batch = this.#pending.splice(0, count).filter(({ lease }) => lease.stage === "settling");
      if (batch.length > 0) {
        return batch;
      }
    }
    return [];
  }

  /** False when some of the batch must be retried. */
  async #deliver(batch: Settlement[]): Promise<boolean> {
    try {
      const { failures } = await this.#send(batch);
      return this.#conclude(batch, readFailures(failures));
    } catch (error) {
      if (!heals(error)) {
        throw error;
      }
      this.#parts.logger[this.#outage.level()]("settles failed; they will be retried", {
        kind: this.#kind,
        count: batch.length,
        error: inBrief(error),
      });
      for (const { lease } of batch) {
        lease.tried = true;
      }
      this.#pending.unshift(...batch);
      return false;
    }
  }

  #conclude(batch: Settlement[], failures: LeaseFailure[]): boolean {
    const reasons = new Map(failures.map(({ leaseToken, reason }) => [leaseToken, reason]));
    const isStopped = ({ lease }: Settlement): boolean => reasons.get(lease.token) === "engine_stopped";
    for (const { lease, nack } of batch.filter((each) => !isStopped(each))) {
      const reason = reasons.get(lease.token);
      if (reason === "no_key" && nack?.pause !== undefined) {
        this.#pending.push({ lease, nack: retryInstead(nack) });
        continue;
      }
      // A try whose answer was lost may have settled it.
      if (reason !== undefined && !lease.tried) {
        this.#parts.logger.warn("a settle had no effect", { kind: this.#kind, reason, ...lease.about() });
      }
      this.#parts.leases.discard(lease);
    }
    const stopped = batch.filter(isStopped);
    if (stopped.length > 0) {
      this.#parts.logger[this.#outage.level()]("the engine is stopped; settles will be retried", {
        kind: this.#kind,
        count: stopped.length,
      });
      this.#pending.unshift(...stopped);
      return false;
    }
    this.#pauses.reset();
    this.#outage.over();
    return true;
  }
}
