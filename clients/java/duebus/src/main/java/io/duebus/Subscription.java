package io.duebus;

import io.duebus.SubscribeStream.Arrival;
import io.duebus.v1.Closing;
import io.duebus.v1.Started;
import io.duebus.v1.SubscribeResponse;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * Handles the events of one topic and group: a stream that is reopened whenever it ends, the handlers that it feeds,
 * and the keeper of their leases. One thread reads; the monitor guards what it shares with the handlers' threads and
 * the calls'.
 */
final class Subscription {
    /** A frame in flight when the handlers are paused arrives within this time. */
    private static final Duration QUIET = Duration.ofMillis(50);

    /** Bounds the wait for a server that keeps sending. */
    private static final Duration QUIET_AT_MOST = Duration.ofSeconds(1);

    private final Connection connection;
    private final WorkerSettings settings;
    private final String topic;
    private String group; // the server names an ephemeral one that has no name
    private final Object monitor = new Object();
    private final Shared shared;
    private final HandlerRunner runner;
    private final Keeper keeper;
    private final Backoff pauses = Backoff.ofStreams();
    private final Outage outage = new Outage();
    private final BlockingQueue<Arrival> arrivals = new LinkedBlockingQueue<>();
    private final CompletableFuture<Void> started = new CompletableFuture<>();
    private final CompletableFuture<Void> ended = new CompletableFuture<>();
    /** How many of its leases the stream names: all, if so many fit into the request. */
    private int named;

    /** How many events the stream may hold. */
    private int window;

    /** The group has limits, so that nothing is prefetched. */
    private boolean limited;

    private volatile boolean stopping;
    private volatile DueBusException failure;

    Subscription(
            Connection connection,
            Worker.Registration registration,
            Executor threads,
            ScheduledExecutorService timer) {
        this.connection = connection;
        this.settings = registration.settings();
        this.topic = registration.topic();
        this.group = settings.group();
        String unnamed = settings.ephemeral() ? "ephemeral" : "default";
        String name = topic + "/" + (group.isEmpty() ? unnamed : group);
        this.shared = new Shared(name, monitor, timer, this::fail);
        Executor executor = settings.executor() == null ? threads : settings.executor();
        this.runner = new HandlerRunner(registration.handler(), settings, executor, shared, connection, this::wake, this::doubt);
        this.keeper = new Keeper(connection, shared, runner, settings.lease());
    }

    /** Completes when the first stream is open. */
    CompletableFuture<Void> started() {
        return started;
    }

    /** Completes when the subscription has drained, with the error that ended it, if any. */
    CompletableFuture<Void> ended() {
        return ended;
    }

    String name() {
        return shared.name();
    }

    /** Begins to drain. */
    void stop() {
        stopping = true;
        wake();
    }

    private void wake() {
        arrivals.add(Arrival.WAKE);
    }

    /** Asks the server, because the lease of the next delivery may have run out. */
    private void doubt() {
        keeper.extendNow();
    }

    private void fail(DueBusException error) {
        synchronized (monitor) {
            if (failure == null) {
                failure = error;
            }
            monitor.notifyAll();
        }
        stop();
    }

    /** Handles events until it is stopped or fails, and then drains. */
    void run() {
        try {
            read();
        } catch (Throwable thrown) { // the worker must learn of anything thrown
            fail(DueBusException.of(thrown));
        }
        try {
            finish();
        } catch (Throwable thrown) {
            fail(DueBusException.of(thrown));
        }
        if (failure == null) {
            ended.complete(null);
        } else {
            shared.warn("the subscription ended: %s", failure.getMessage());
            ended.completeExceptionally(failure);
        }
    }

    private void read() throws InterruptedException {
        while (!stopping) {
            if (isStuck()) {
                waitForSlot();
            } else {
                pause(readOne());
            }
        }
    }

    private boolean isStuck() {
        synchronized (monitor) {
            return runner.isStuck();
        }
    }

    /** While abandoned handlers take every slot, other workers can handle what waits here. */
    private void waitForSlot() throws InterruptedException {
        shared.warn("interrupted handlers occupy every slot; unsubscribed until one returns");
        while (!stopping && isStuck()) {
            arrivals.take();
        }
    }

    private void pause(Duration length) throws InterruptedException {
        connection.connectBefore(length);
        long end = System.nanoTime() + length.toNanos();
        while (!stopping && arrivals.poll(end - System.nanoTime(), TimeUnit.NANOSECONDS) != null) {
            continue; // from the stream that has ended, or a wake-up
        }
    }

    /** Reads a stream until it ends; returns how long to wait before the next. */
    private Duration readOne() throws InterruptedException {
        SubscribeStream stream = open();
        try {
            return readFrames(stream);
        } finally {
            synchronized (monitor) {
                keeper.detach();
            }
            stream.cancel();
        }
    }

    private SubscribeStream open() {
        synchronized (monitor) {
            var tokens = runner.leases().tokens();
            named = Settles.fitting(tokens, connection.maxRequestBytes(), String::length);
            window = limited ? Math.min(settings.concurrency(), settings.maxInFlight()) : settings.maxInFlight();
            var request = settings.subscribe(topic, group, window, tokens.subList(0, named));
            return SubscribeStream.open(connection, request, arrivals);
        }
    }

    private Duration readFrames(SubscribeStream stream) throws InterruptedException {
        long startBy = System.nanoTime() + Times.nanos(connection.timeout());
        boolean isOpen = false;
        while (!stopping && !isStuck() && !isTooWide()) {
            Arrival arrival =
                    isOpen ? arrivals.take() : arrivals.poll(startBy - System.nanoTime(), TimeUnit.NANOSECONDS);
            if (arrival == null) {
                return pauseAfter(new DueBusException(Reason.DEADLINE_EXCEEDED, "the stream did not start in time"));
            }
            if (arrival.from() != stream) {
                continue;
            }
            if (arrival.frame() == null) {
                return arrival.error() == null ? pauses.next() : pauseAfter(arrival.error());
            }
            if (arrival.frame().hasClosing()) {
                return pauseAfterClosing(arrival.frame().getClosing());
            }
            isOpen = true;
            take(arrival.frame());
        }
        drain(stream);
        return Duration.ZERO;
    }

    /** Whether the stream may hold more than the handlers can begin, in a group with limits. */
    private boolean isTooWide() {
        return limited && window > settings.concurrency();
    }

    /**
     * Waits until no delivery is in flight, and then closes the stream. What was not started is released, unless the next
     * stream keeps it. A delivery that arrives after the stream is closed can't be released: it costs an attempt and the
     * disconnect grace.
     */
    private void drain(SubscribeStream stream) throws InterruptedException {
        synchronized (monitor) {
            if (stopping) {
                runner.pause();
            }
            runner.settler().hold(true); // each settle makes the server send more
        }
        long atMost = System.nanoTime() + QUIET_AT_MOST.toNanos();
        Arrival arrival;
        while (System.nanoTime() < atMost
                && (arrival = arrivals.poll(QUIET.toNanos(), TimeUnit.NANOSECONDS)) != null) {
            if (arrival.from() == stream && arrival.frame() != null) {
                take(arrival.frame());
            }
        }
        stream.cancel();
        synchronized (monitor) {
            if (stopping || isStuck()) {
                runner.release();
            }
            runner.settler().hold(false);
        }
    }

    private void take(SubscribeResponse frame) {
        synchronized (monitor) {
            if (frame.hasStarted()) {
                onStarted(frame.getStarted());
            } else if (frame.hasDeliveries()) {
                runner.accept(frame.getDeliveries().getDeliveriesList());
            }
        }
    }

    private void onStarted(Started frame) {
        if (!frame.getGroup().isEmpty()) {
            group = frame.getGroup();
        }
        int lost = runner.leases().lose(frame.getLostLeaseTokensList());
        int kept = runner.leases().size();
        shared.info("subscribed as %s, leases kept: %d, lost: %d", frame.getSessionId(), kept, lost);
        connection.limitRequests(frame.getMaxRequestBytes());
        limited = frame.getLimited();
        runner.clock().lasts(Times.read(frame.getLease()));
        keeper.attach(Times.read(frame.getLease()), Times.read(frame.getDisconnectGrace()));
        if (kept > named) {
            keeper.extendNow(); // leases that the stream did not name run out
        }
        runner.settler().retryNow();
        pauses.reset();
        outage.over();
        started.complete(null);
    }

    private Duration pauseAfterClosing(Closing frame) {
        if (frame.getReason() == Closing.Reason.REASON_REBALANCE) {
            shared.log(Level.DEBUG, null, "the server asked for a new stream, to spread them over its replicas");
            return Duration.ZERO;
        }
        // The added backoff spreads out the workers of a server that closes all its streams at once.
        Duration pause = Times.read(frame.getReconnectAfter()).plus(pauses.next());
        shared.info("the server closed the stream, %s; next try in %s", frame.getReason(), pause);
        return pause;
    }

    private Duration pauseAfter(DueBusException error) {
        if (!error.heals()) {
            throw error;
        }
        Duration pause = pauses.next().plus(error.retryAfter().orElse(Duration.ZERO));
        shared.log(outage, "the stream broke; next try in %s: %s", pause, error.getMessage());
        return pause;
    }

    /** Waits for the handlers and for their settles, then interrupts the handlers that are left. */
    private void finish() throws InterruptedException {
        synchronized (monitor) {
            runner.pause();
            runner.release();
            if (!awaitSettled(settings.drainTimeout(), true)) {
                runner.leases().cancelAll(Lease.Cause.STOPPED);
                // Twice: once for the handlers, and once for their settles.
                if (!awaitSettled(HandlerRunner.CANCEL_GRACE.multipliedBy(2), false)) {
                    int left = runner.leases().size();
                    shared.warn("stopped with %d unsettled leases; their events will be delivered again", left);
                }
            }
            keeper.close();
        }
    }

    /** False if the time is over or, if that counts, nothing more can be settled. */
    private boolean awaitSettled(Duration atMost, boolean unlessFailed) throws InterruptedException {
        long end = System.nanoTime() + Times.nanos(atMost);
        while (!(runner.isIdle() && runner.leases().isEmpty())) {
            long leftMs = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
            if (leftMs <= 0 || (unlessFailed && failure != null)) {
                return false;
            }
            monitor.wait(leftMs);
        }
        return true;
    }
}
