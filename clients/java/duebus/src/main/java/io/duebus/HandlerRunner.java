package io.duebus;

import io.duebus.v1.Nack;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * Runs the handler of one subscription's deliveries, a limited number at a time; the others wait in order of arrival.
 * Its callers hold the monitor of the subscription.
 *
 * <p>Each slot is a task. On the worker's own threads a task handles one delivery after the other while some wait, and
 * only as many tasks are on their way as there are processors, each of which sends the next: so handlers that end at once
 * share few threads, which need not be woken for each event. On an executor of the user's, which may serve others too,
 * there is a task for each delivery.
 */
final class HandlerRunner {
    /** How long a cancelled handler may take to end before its event is settled without it. */
    static final Duration CANCEL_GRACE = Duration.ofSeconds(1);

    private final Handler handler;
    private final WorkerSettings settings;
    private final Executor executor;
    private final Shared shared;
    private final Leases leases;
    private final Settler settler;
    private final LeaseClock clock;
    private final Runnable onStuck;
    private final Runnable onDoubt;
    private final boolean ownThreads;
    private final int mostComing;
    private final Deque<Lease> waiting = new ArrayDeque<>();
    private int taken;
    private int coming; // of the taken ones, by tasks that have not begun
    private int lost; // of the taken ones, by abandoned handlers
    private boolean paused;

    /**
     * @param onStuck is run when abandoned handlers take all slots, and when they no longer do
     * @param onDoubt is run when the lease of the next delivery may have run out
     */
    HandlerRunner(
            Handler handler,
            WorkerSettings settings,
            Executor executor,
            Shared shared,
            Connection connection,
            Runnable onStuck,
            Runnable onDoubt) {
        this.handler = handler;
        this.settings = settings;
        this.executor = executor;
        this.ownThreads = settings.executor() == null;
        this.mostComing = ownThreads ? Runtime.getRuntime().availableProcessors() : Integer.MAX_VALUE;
        this.shared = shared;
        this.leases = new Leases(shared.monitor(), this::cancelled);
        this.settler = new Settler(connection, shared, leases);
        this.clock = new LeaseClock(settings.lease());
        this.onStuck = onStuck;
        this.onDoubt = onDoubt;
    }

    Leases leases() {
        return leases;
    }

    Settler settler() {
        return settler;
    }

    LeaseClock clock() {
        return clock;
    }

    /** Takes deliveries and starts as many as there are slots for. */
    void accept(List<io.duebus.v1.Delivery> deliveries) {
        for (var each : deliveries) {
            Lease lease = leases.add(Delivery.of(each));
            clock.arrived(lease);
            waiting.add(lease);
        }
        startWaiting();
    }

    /** Stops starting handlers. */
    void pause() {
        paused = true;
    }

    /** Releases the deliveries that were not started. */
    void release() {
        while (!waiting.isEmpty()) {
            Lease lease = waiting.poll();
            if (leases.settle(lease)) {
                settler.nack(lease, Outcomes.release(lease.token()));
            }
        }
    }

    /** Whether all handlers have ended, except abandoned ones. */
    boolean isIdle() {
        return taken == lost;
    }

    /** Abandoned handlers take all slots. */
    boolean isStuck() {
        return lost >= settings.concurrency();
    }

    /** Starts tasks for what waits, as far as there are slots, up to a delivery whose lease may have run out. */
    void startWaiting() {
        while (coming < Math.min(mostComing, waiting.size()) && taken < settings.concurrency() && !paused) {
            if (isInDoubt()) {
                return;
            }
            start();
        }
    }

    private boolean isInDoubt() {
        boolean doubtful = waiting.peek().mayHavePassed();
        if (doubtful) {
            onDoubt.run();
        }
        return doubtful;
    }

    private void start() {
        taken++;
        coming++;
        try {
            executor.execute(this::run);
        } catch (OutOfMemoryError | RejectedExecutionException error) { // there is no thread for it
            coming--;
            taken--;
            Lease lease = next();
            if (lease != null) {
                shared.log(Level.ERROR, error, "%s: the handler can't be started", lease);
                finish(lease, error);
            }
        }
    }

    private void run() {
        Lease lease = begin();
        while (lease != null) {
            lease = ended(lease, invoke(lease));
        }
    }

    /** The first delivery of a task; null if there is none. */
    private Lease begin() {
        synchronized (shared.monitor()) {
            coming--;
            Lease lease = nextOrLeave(true);
            if (ownThreads) {
                startWaiting();
            }
            return lease;
        }
    }

    /** The next delivery of this task; null if it gives its slot back. */
    private Lease nextOrLeave(boolean goOn) {
        Lease lease = goOn ? next() : null;
        if (lease == null) {
            taken--;
            shared.monitor().notifyAll();
        } else {
            lease.thread = Thread.currentThread();
        }
        return lease;
    }

    /** Takes the next delivery that may be handled now; null if there is none. */
    private Lease next() {
        while (!waiting.isEmpty() && !paused && !isInDoubt()) {
            Lease lease = waiting.poll();
            if (lease.stage == Lease.Stage.WAITING) {
                lease.stage = Lease.Stage.RUNNING;
                return lease;
            }
        }
        return null;
    }

    private Throwable invoke(Lease lease) {
        var deadline = shared.timer()
                .schedule(() -> overdue(lease), Times.nanos(settings.maxExecution()), TimeUnit.NANOSECONDS);
        try {
            handler.handle(lease.delivery);
            return null;
        } catch (Throwable thrown) { // an Error, too, is the handler's failure, not the worker's
            return thrown;
        } finally {
            deadline.cancel(false);
        }
    }

    /** Settles a delivery. Returns the next one of this task; null if there is none. */
    private Lease ended(Lease lease, Throwable thrown) {
        synchronized (shared.monitor()) {
            lease.thread = null;
            Thread.interrupted(); // an interrupt of this handler must not hit the next one on the thread
            finish(lease, thrown);
            Lease next = nextOrLeave(ownThreads);
            startWaiting();
            return next;
        }
    }

    private void finish(Lease lease, Throwable thrown) {
        lease.ended = true;
        settle(lease, thrown);
        if (lease.leftBehind) {
            lost--;
            onStuck.run();
        }
        shared.monitor().notifyAll();
    }

    private void overdue(Lease lease) {
        synchronized (shared.monitor()) {
            leases.cancel(lease, Lease.Cause.TIMEOUT);
        }
    }

    private void cancelled(Lease lease) {
        shared.timer().schedule(() -> leaveBehind(lease), CANCEL_GRACE.toMillis(), TimeUnit.MILLISECONDS);
    }

    /** Settles an event whose cancelled handler doesn't end. */
    private void leaveBehind(Lease lease) {
        synchronized (shared.monitor()) {
            if (lease.ended) {
                return;
            }
            lease.leftBehind = true;
            lost++;
            shared.log(Level.ERROR, null, "%s: the interrupted handler has not returned; it keeps its slot until it does", lease);
            settle(lease, null);
            shared.monitor().notifyAll();
            onStuck.run();
        }
    }

    /** Acks, nacks or releases an event, by how its handler ended or why it was cancelled. */
    private void settle(Lease lease, Throwable thrown) {
        if (!leases.settle(lease)) {
            return;
        }
        if (lease.cause == Lease.Cause.STOPPED) {
            settler.nack(lease, Outcomes.release(lease.token()));
        } else if (lease.cause == Lease.Cause.TIMEOUT) {
            String why = "cancelled: the handler ran for longer than " + settings.maxExecution();
            shared.warn("%s: %s", lease, why);
            settler.nack(lease, Outcomes.failed(lease.token(), why));
        } else if (thrown == null) {
            settler.ack(lease);
        } else {
            Nack nack = Outcomes.nack(lease.delivery, thrown);
            settler.nack(lease, nack);
            report(lease, thrown, nack);
        }
    }

    private void report(Lease lease, Throwable thrown, Nack nack) {
        if (!Outcomes.isDeliberate(thrown)) {
            shared.log(Level.WARNING, thrown, "%s: the handler failed", lease);
        } else if (nack.getDeadLetter()) {
            shared.warn("%s was dead-lettered: %s", lease, nack.getError());
        } else {
            shared.info("%s was given back: %s", lease, nack.getError());
        }
    }
}
