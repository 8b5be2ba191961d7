package io.duebus;

import java.time.Duration;
import java.time.Instant;
import java.util.Collection;

/**
 * Knows when a lease may have run out while its delivery was on the way or waited here: the process or the host was frozen,
 * a garbage collection took long, the network stood still. Such a delivery is not started before the server has confirmed
 * its lease. Its callers hold the monitor of the subscription.
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

    /** Sets how long the leases of deliveries to come last. */
    void lasts(Duration length) {
        this.length = length;
    }

    /** Notes when the lease of a delivery runs out that has just come. */
    void arrived(Lease lease) {
        Instant expires = lease.delivery.leaseExpiresAt();
        lease.lead = Duration.between(expires, Instant.now()).plus(length);
        ahead = Times.min(ahead, lease.lead);
        lease.expires = expires.plus(ahead);
    }

    /** Says that the server has extended these leases: they last so long from the moment when it was asked. */
    void confirm(Collection<Lease> leases, Instant asked, Duration length) {
        for (Lease lease : leases) {
            lease.expires = asked.plus(length);
            if (lease.stage == Lease.Stage.WAITING) {
                ahead = Times.max(ahead, lease.lead);
            }
        }
    }
}
