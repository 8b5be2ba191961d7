package io.duebus;

import io.duebus.v1.EventBusGrpc;
import io.duebus.v1.LeaseFailure;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;

/**
 * Extends the leases of one subscription while its deliveries are handled, wait, or are being settled: every third of a
 * lease. While no stream is open, every third of the disconnect grace, because the server lets the leases of a stream
 * that broke run out after that.
 */
final class Keeper {
    private static final Duration SHORTEST = Duration.ofMillis(20);

    /** At the most, after an extension that failed. */
    private static final Duration RETRY = Duration.ofSeconds(1);

    private final Connection connection;
    private final Shared shared;
    private final Leases leases;
    private Duration lease;
    private Duration grace;
    private boolean attached;
    private boolean failed;
    private boolean closed;
    private boolean busy;
    private ScheduledFuture<?> next;

    Keeper(Connection connection, Shared shared, Leases leases, Duration lease) {
        this.connection = connection;
        this.shared = shared;
        this.leases = leases;
        this.lease = lease;
        this.grace = lease;
    }

    /** A stream is open: the server has renewed the leases that it was told of. */
    void attach(Duration lease, Duration grace) {
        this.lease = lease;
        this.grace = grace;
        attached = true;
        schedule();
    }

    /** The stream has ended. */
    void detach() {
        attached = false;
        schedule();
    }

    void close() {
        closed = true;
        if (next != null) {
            next.cancel(false);
        }
    }

    private void schedule() {
        if (next != null) {
            next.cancel(false);
        }
        if (!busy && !closed) {
            next = shared.timer().schedule(this::extendAll, period().toMillis(), TimeUnit.MILLISECONDS);
        }
    }

    private Duration period() {
        Duration length = attached ? lease : Times.min(lease, grace);
        Duration period = Times.max(length.dividedBy(3), SHORTEST);
        return failed ? Times.min(period, RETRY) : period;
    }

    private void extendAll() {
        synchronized (shared.monitor()) {
            List<String> tokens = leases.extendable();
            if (closed || tokens.isEmpty()) {
                failed = false;
                schedule();
                return;
            }
            busy = true;
            // An answer that comes later than the lease is of no use.
            connection
                    .once(EventBusGrpc.getExtendMethod(), Settles.extendRequest(tokens, lease), lease)
                    .whenComplete((response, error) ->
                            concluded(tokens.size(), response == null ? List.of() : response.getFailuresList(), error));
        }
    }

    private void concluded(int count, List<LeaseFailure> failures, Throwable thrown) {
        synchronized (shared.monitor()) {
            busy = false;
            failed = thrown != null;
            drop(failures);
            if (failed && !closed) {
                var error = DueBusException.of(thrown);
                connection.connectBefore(Duration.ZERO); // every try counts against the grace
                shared.warn("%d leases could not be extended: %s", count, error.getMessage());
                if (!error.heals()) {
                    closed = true;
                    shared.fail(error);
                }
            }
            schedule();
        }
    }

    /** Ends leases that are lost; those of a stopped engine may yet be named on another replica. */
    private void drop(List<LeaseFailure> failures) {
        int lost = leases.lose(failures.stream()
                .filter(each -> each.getReason() != LeaseFailure.Reason.REASON_ENGINE_STOPPED)
                .map(LeaseFailure::getLeaseToken)
                .toList());
        if (lost > 0) {
            shared.warn("%d leases were lost; their handlers are cancelled", lost);
        }
    }
}
