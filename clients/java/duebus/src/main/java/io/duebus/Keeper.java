package io.duebus;

import io.duebus.v1.EventBusGrpc;
import io.duebus.v1.LeaseFailure;
import java.time.Duration;
import java.time.Instant;
import java.util.HashSet;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;

/**
 * Extends the leases of one subscription while its deliveries are handled, wait, or are being settled: every third of a
 * lease. While no stream is open, every third of the disconnect grace, after which the leases of a broken stream
 * run out.
 */
final class Keeper {
    private static final Duration SHORTEST = Duration.ofMillis(20);

    /** The longest pause after an extension that failed. */
    private static final Duration RETRY = Duration.ofSeconds(1);

    private final Connection connection;
    private final Shared shared;
    private final HandlerRunner runner;
    private final Outage outage = new Outage();
    private Duration lease;
    private Duration grace;
    private boolean attached;
    private boolean failed;
    private boolean closed;
    private boolean busy;
    private boolean urgent;
    private ScheduledFuture<?> next;

    Keeper(Connection connection, Shared shared, HandlerRunner runner, Duration lease) {
        this.connection = connection;
        this.shared = shared;
        this.runner = runner;
        this.lease = lease;
        this.grace = lease;
    }

    /** Notes that a stream is open: the server has renewed the leases that it named. */
    void attach(Duration lease, Duration grace) {
        this.lease = lease;
        this.grace = grace;
        attached = true;
        schedule();
    }

    /** Notes that the stream has ended. */
    void detach() {
        attached = false;
        schedule();
    }

    /** Extends all leases without waiting for the end of the period. */
    void extendNow() {
        urgent = true;
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
        if (urgent) {
            return Duration.ZERO;
        }
        Duration length = attached ? lease : Times.min(lease, grace);
        Duration period = Times.max(length.dividedBy(3), SHORTEST);
        return failed ? Times.min(period, RETRY) : period;
    }

    private void extendAll() {
        synchronized (shared.monitor()) {
            List<String> tokens = runner.leases().extendable();
            urgent = false;
            if (closed || tokens.isEmpty()) {
                failed = false;
                schedule();
                return;
            }
            busy = true;
            var asked = Instant.now();
            var length = lease;
            // An answer that comes after the lease has run out is useless.
            var calls = Settles.batches(tokens, connection.maxRequestBytes(), String::length).stream()
                    .map(batch -> connection
                            .once(EventBusGrpc.getExtendMethod(), Settles.extendRequest(batch, length), length)
                            .thenAccept(response -> extended(batch, response.getFailuresList(), asked, length)))
                    .toList();
            CompletableFuture.allOf(calls.toArray(CompletableFuture[]::new))
                    .whenComplete((done, error) -> concluded(tokens.size(), error));
        }
    }

    private void extended(List<String> tokens, List<LeaseFailure> failures, Instant asked, Duration length) {
        synchronized (shared.monitor()) {
            drop(failures);
            var confirmed = new HashSet<>(tokens);
            failures.forEach(each -> confirmed.remove(each.getLeaseToken()));
            runner.clock().confirm(runner.leases().find(confirmed), asked, length);
            runner.startWaiting();
        }
    }

    private void concluded(int count, Throwable thrown) {
        synchronized (shared.monitor()) {
            busy = false;
            failed = thrown != null;
            if (!failed) {
                outage.over();
            } else if (!closed) {
                var error = DueBusException.of(thrown);
                connection.connectBefore(Duration.ZERO); // every try counts against the grace
                shared.log(outage, "%d leases could not be extended: %s", count, error.getMessage());
                if (!error.heals()) {
                    closed = true;
                    shared.fail(error);
                }
            }
            schedule();
        }
    }

    /** Ends lost leases. Those of a stopped engine are kept: another replica may still accept them. */
    private void drop(List<LeaseFailure> failures) {
        int lost = runner.leases().lose(failures.stream()
                .filter(each -> each.getReason() != LeaseFailure.Reason.REASON_ENGINE_STOPPED)
                .map(LeaseFailure::getLeaseToken)
                .toList());
        if (lost > 0) {
            shared.warn("%d leases were lost; their handlers are cancelled", lost);
        }
    }
}
