import type { Lease } from "./leases.js";

/**
 * Knows when a lease may have run out while its delivery was on its way or waited here, because the process, the host,
 * the event loop or the network was frozen. Such a delivery is not started until the server has confirmed its lease.
 *
 * The engine's clock need not agree with this host's. `#aheadMs` is the most by which this one is ahead. It starts at
 * 0. A delivery that arrives in less time lowers it; one whose lease the server confirms although it seemed to have
 * run out raises it.
 */
export class LeaseClock {
  #aheadMs = 0;
  /** How long the leases of future deliveries last. */
  leaseMs: number;

  constructor(leaseMs: number) {
    this.leaseMs = leaseMs;
  }

  /** Notes when the lease of a delivery that has just arrived runs out. */
  arrived(lease: Lease): void {
    const expiresAt = lease.delivery.leaseExpiresAt.getTime();
    lease.leadMs = Date.now() - expiresAt + this.leaseMs;
    this.#aheadMs = Math.min(this.#aheadMs, lease.leadMs);
    lease.expiresAt = expiresAt + this.#aheadMs;
  }

  /** Notes that the server has extended these leases: they last their whole length from the time of the request. */
  confirm(leases: readonly Lease[], askedAt: number, leaseMs: number): void {
    for (const lease of leases) {
      lease.expiresAt = askedAt + leaseMs;
      if (lease.stage === "waiting") {
        this.#aheadMs = Math.max(this.#aheadMs, lease.leadMs);
      }
    }
  }
}
