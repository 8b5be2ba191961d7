package io.duebus;

import java.time.Duration;
import java.time.Instant;
import java.util.Collection;

/**
 * Knows when a lease may have run out while its delivery was on its way or waited here, because the process, the host
 * or the network was frozen, or a garbage collection took long. Such a delivery is not started until the server has
 * confirmed its lease. Its callers hold the monitor of the subscription.
 *
 * <p>The engine's clock need not agree with this host's. How far this one is ahead of it, at most, starts at 0; a delivery
 * that comes in less time lowers it, and one whose lease the server confirms although it seemed to have run out raises it.
 */
final class LeaseClock {
    private Duration length;
    private Duration ahead = Duration.ZERO;

    LeaseClock(Duration length) {
        this.length = length;
    }

    /** Sets how long the leases of future deliveries last. */
    void lasts(Duration length) {
        this.length = length;
    }

    /** Notes when the lease of a delivery that has just arrived runs out. */
    void arrived(Lease lease) {
        Instant expires = lease.delivery.leaseExpiresAt();
        lease.lead = Duration.between(expires, Instant.now()).plus(length);
        ahead = Times.min(ahead, lease.lead);
        lease.expires = expires.plus(ahead);
    }

    /** Notes that the server has extended these leases: they last their whole length from the time of the request. */
    void confirm(Collection<Lease> leases, Instant asked, Duration length) {
        for (Lease lease : leases) {
            lease.expires = asked.plus(length);
            if (lease.stage == Lease.Stage.WAITING) {
                ahead = Times.max(ahead, lease.lead);
            }
        }
    }
}
