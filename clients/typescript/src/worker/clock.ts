import type { Lease } from "./leases.js";

/**
 * Knows when a lease may have run out while its delivery was on the way or waited here: the process or the host was
 * frozen, the event loop was busy, the network stood still. Such a delivery is not started before the server has confirmed
 * its lease.
 *
 * The engine's clock need not agree with this host's. `#aheadMs` is how far this one is ahead of it, at most. It starts at
 * 0; a delivery that comes in less time lowers it, and one whose lease the server confirms although it seemed to have run
 * out raises it.
 */
export class LeaseClock {
  #aheadMs = 0;
  /** How long the leases of deliveries to come last. */
  leaseMs: number;

  constructor(leaseMs: number) {
    this.leaseMs = leaseMs;
  }

  /** Notes when the lease of a delivery runs out that has just come. */
  arrived(lease: Lease): void {
    const expiresAt = lease.delivery.leaseExpiresAt.getTime();
    lease.leadMs = Date.now() - expiresAt + this.leaseMs;
    this.#aheadMs = Math.min(this.#aheadMs, lease.leadMs);
    lease.expiresAt = expiresAt + this.#aheadMs;
  }

  /** The server has extended these leases: they last so long from the moment when it was asked. */
  confirm(leases: readonly Lease[], askedAt: number, leaseMs: number): void {
    for (const lease of leases) {
      lease.expiresAt = askedAt + leaseMs;
      if (lease.stage === "waiting") {
        this.#aheadMs = Math.max(this.#aheadMs, lease.leadMs);
      }
    }
  }
}
