package io.duebus;

import io.duebus.v1.LeaseFailure;
import io.duebus.v1.Nack;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * Settles of one kind, one call at a time: what is settled while no call is in flight is sent at once; what accumulates
 * during a call goes into the next. Nothing is dropped while its lease is held.
 */
final class Lane {
    /** A lease to settle; an ack has no nack. */
    record Settle(Lease lease, Nack nack) {
        int size() {
            return nack == null ? lease.token().length() : nack.getSerializedSize();
        }
    }

    private final String kind;
    private final Connection connection;
    private final Function<List<Settle>, CompletableFuture<List<LeaseFailure>>> send;
    private final Shared shared;
    private final Leases leases;
    private final Backoff pauses = Backoff.ofStreams();
    private final Outage outage = new Outage();
    private final Deque<Settle> pending = new ArrayDeque<>();
    private boolean busy;
    private boolean held;

    /** An error that no retry can cure: nothing more is sent. */
    private boolean broken;

    private ScheduledFuture<?> pause;

    Lane(
            String kind,
            Connection connection,
            Function<List<Settle>, CompletableFuture<List<LeaseFailure>>> send,
            Shared shared,
            Leases leases) {
        this.kind = kind;
        this.connection = connection;
        this.send = send;
        this.shared = shared;
        this.leases = leases;
    }

    void put(Settle settle) {
        pending.add(settle);
        pump();
    }

    void hold(boolean held) {
        this.held = held;
        pump();
    }

    /** Sends now what waits for the next try, because the server can be reached again. */
    void retryNow() {
        if (pause != null) {
            pause.cancel(false);
            pause = null;
            pump();
        }
    }

    private void pump() {
        if (busy || held || broken || pause != null) {
            return;
        }
        List<Settle> batch = take();
        if (batch.isEmpty()) {
            return;
        }
        busy = true;
        send.apply(batch).whenComplete((failures, error) -> {
            synchronized (shared.monitor()) {
                busy = false;
                if (error == null) {
                    conclude(batch, failures);
                } else {
                    failed(batch, DueBusException.of(error));
                }
                pump();
            }
        });
    }

    /** The next batch, without those whose lease was lost meanwhile; empty if there is nothing to send. */
    private List<Settle> take() {
        pending.removeIf(each -> each.lease().stage != Lease.Stage.SETTLING);
        int count = Settles.fitting(pending, connection.maxRequestBytes(), Settle::size);
        var batch = new ArrayList<Settle>();
        while (batch.size() < Math.min(count, Settles.MAX_LEASES)) {
            batch.add(pending.poll());
        }
        return batch;
    }

    private void conclude(List<Settle> batch, List<LeaseFailure> failures) {
        Map<String, LeaseFailure.Reason> reasons = failures.stream()
                .collect(Collectors.toMap(LeaseFailure::getLeaseToken, LeaseFailure::getReason, (one, other) -> one));
        var stopped = new ArrayList<Settle>();
        for (Settle each : batch) {
            LeaseFailure.Reason reason = reasons.get(each.lease().token());
            if (reason == LeaseFailure.Reason.REASON_ENGINE_STOPPED) {
                stopped.add(each);
                continue;
            }
            if (reason == LeaseFailure.Reason.REASON_NO_KEY && each.nack() != null && each.nack().hasPause()) {
                pending.add(new Settle(each.lease(), Outcomes.retryInstead(each.nack())));
                continue;
            }
            if (reason != null && !each.lease().tried) { // otherwise that try has probably settled it
                shared.warn("%s: the %s had no effect: %s", each.lease(), kind, reason);
            }
            leases.discard(each.lease());
        }
        if (stopped.isEmpty()) {
            pauses.reset();
            outage.over();
        } else {
            shared.log(outage, "the engine is stopped; %d %ss will be retried", stopped.size(), kind);
            putBack(stopped);
        }
    }

    private void failed(List<Settle> batch, DueBusException error) {
        if (!error.heals()) {
            broken = true;
            shared.fail(error);
            return;
        }
        shared.log(outage, "%d %ss failed and will be retried: %s", batch.size(), kind, error.getMessage());
        batch.forEach(each -> each.lease().tried = true);
        putBack(batch);
    }

    private void putBack(List<Settle> batch) {
        for (int i = batch.size() - 1; i >= 0; i--) {
            pending.addFirst(batch.get(i));
        }
        Duration length = pauses.next();
        pause = shared.timer().schedule(this::endPause, length.toMillis(), TimeUnit.MILLISECONDS);
    }

    private void endPause() {
        synchronized (shared.monitor()) {
            retryNow();
        }
    }
}
