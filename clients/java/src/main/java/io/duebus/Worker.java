package io.duebus;

import io.duebus.v1.Engine;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Runs handlers on the events of topics until it is stopped.
 *
 * <pre>{@code
 * try (Worker worker = Worker.builder(bus).group("billing").handle("order.created", this::bill).build()) {
 *     worker.run();
 * }
 * }</pre>
 *
 * <p>Each handler has its own subscription. Leases are extended while handlers run. Acks and nacks go in batches.
 * A broken stream is always reopened, with the leases still held. An error that no retry can cure (a bad argument, no
 * permission, an engine that the server does not run) ends the worker, after a drain. Its threads are daemons: only
 * {@link #run} keeps the process alive.
 */
public final class Worker implements AutoCloseable {
    /** A handler on a topic. */
    record Registration(String topic, String group, Handler handler) {}

    private final ExecutorService ownThreads; // null: the handlers run on the caller's executor
    private final ScheduledExecutorService timer = Threads.timer("duebus-worker");
    private final List<Subscription> subscriptions;
    private final AtomicBoolean begun = new AtomicBoolean();
    private final AtomicReference<DueBusException> failure = new AtomicReference<>();
    private final CompletableFuture<Void> ready;
    private final CompletableFuture<Void> ended = new CompletableFuture<>();

    private Worker(DueBus bus, WorkerSettings settings, List<Registration> registrations, Executor executor) {
        ownThreads = executor == null ? Threads.ofHandlers("duebus-handler") : null;
        Executor handlers = executor == null ? ownThreads : executor;
        subscriptions = registrations.stream()
                .map(each -> new Subscription(bus.connection(), settings, each, handlers, timer))
                .toList();
        ready = allOf(subscriptions.stream().map(Subscription::started).toList());
    }

    /** Starts building a worker of this client. */
    public static Builder builder(DueBus bus) {
        return new Builder(bus);
    }

    /**
     * Starts handling events, and returns at once.
     *
     * @throws IllegalStateException it has been started before
     */
    public Worker start() {
        if (begun.getAndSet(true)) {
            throw new IllegalStateException("the worker has been started before");
        }
        allOf(subscriptions.stream()
                        .map(each -> each.ended().whenComplete((done, error) -> onEnd(error)))
                        .toList())
                .whenComplete((done, error) -> concluded());
        subscriptions.forEach(each -> Threads.daemon("duebus-" + each.name(), each::run).start());
        return this;
    }

    /** Ends the other subscriptions when one has ended. */
    private void onEnd(Throwable error) {
        if (error != null) {
            failure.compareAndSet(null, DueBusException.of(error));
            ready.completeExceptionally(failure.get());
        }
        subscriptions.forEach(Subscription::stop);
    }

    private void concluded() {
        if (ownThreads != null) {
            ownThreads.shutdown();
        }
        timer.shutdownNow();
        var error = failure.get();
        if (error == null) {
            ended.complete(null);
        } else {
            ended.completeExceptionally(error);
        }
    }

    /**
     * Completes when the worker has subscribed for every handler: events dispatched from now on are handled. If it is
     * stopped or fails before that, it completes at once with a {@link DueBusException}, CANCELLED or the error.
     */
    public CompletableFuture<Void> ready() {
        return ready.copy();
    }

    /** Completes when the worker has ended, with a {@link DueBusException} if an error ended it. */
    public CompletableFuture<Void> ended() {
        return ended.copy();
    }

    /**
     * Starts, and waits until the worker has ended: because {@link #stop} or {@link #close} was called by another thread,
     * for example by a hook that runs when the process is terminated, or because of an error. Interrupting the thread
     * drains the worker.
     *
     * @throws DueBusException an error that no retry can cure
     */
    public void run() {
        start();
        try {
            ended.get();
        } catch (InterruptedException interrupted) {
            stop().exceptionally(error -> null).join();
            Thread.currentThread().interrupt();
        } catch (java.util.concurrent.ExecutionException error) {
            throw DueBusException.of(error).here();
        }
    }

    /**
     * Begins to drain, and returns at once: running handlers are finished and their events settled, for at most the
     * drain timeout; after that they are interrupted, and their events released. Deliveries that were not started are
     * released.
     *
     * @return {@link #ended}
     */
    public CompletableFuture<Void> stop() {
        ready.completeExceptionally(new DueBusException(Reason.CANCELLED, "the worker was stopped"));
        if (!begun.getAndSet(true)) {
            concluded();
        }
        subscriptions.forEach(Subscription::stop);
        return ended();
    }

    /** As {@link #stop}, and waits until that is done. Not for handlers, which it waits for. */
    @Override
    public void close() {
        stop().exceptionally(error -> null).join();
    }

    private static CompletableFuture<Void> allOf(List<CompletableFuture<Void>> futures) {
        return CompletableFuture.allOf(futures.toArray(CompletableFuture[]::new));
    }

    /** Builds a worker. */
    public static final class Builder {
        private static final Duration SHORTEST_LEASE = Duration.ofMillis(100);
        private static final Duration LONGEST_LEASE = Duration.ofHours(12);
        private static final int MOST_IN_FLIGHT = 100_000;

        private final DueBus bus;
        private final List<Registration> registrations = new ArrayList<>();
        private String group = "";
        private boolean ephemeral;
        private Engine engine = Engine.ENGINE_UNSPECIFIED;
        private String consumer = host() + "-" + ProcessHandle.current().pid();
        private int maxInFlight = 64;
        private long maxInFlightBytes;
        private Integer concurrency;
        private Duration lease = Duration.ofSeconds(30);
        private Duration disconnectGrace;
        private Duration maxExecution = Duration.ofSeconds(50);
        private Duration drainTimeout = Duration.ofSeconds(25);
        private Executor executor;

        private Builder(DueBus bus) {
            this.bus = bus;
        }

        /** Registers a handler for a topic, in the worker's group. */
        public Builder handle(String topic, Handler handler) {
            return handle(topic, null, handler);
        }

        /** Registers a handler for a topic, in its own group; null: the worker's. */
        public Builder handle(String topic, String group, Handler handler) {
            registrations.add(new Registration(topic, group, handler));
            return this;
        }

        /** Names the workers that share one copy of each event; "default" otherwise. */
        public Builder group(String group) {
            this.group = Checks.text("group", group);
            return this;
        }

        /**
         * The groups go with their last worker, and get only what is dispatched while they exist. One without a name
         * belongs to this worker alone, so every instance of a program gets every event.
         */
        public Builder ephemeral(boolean ephemeral) {
            this.ephemeral = ephemeral;
            return this;
        }

        /** The engine that holds the events; the server's default engine otherwise. */
        public Builder engine(Engine engine) {
            this.engine = engine;
            return this;
        }

        /** A name that identifies the worker in the admin views; the host's name and the process id otherwise. */
        public Builder consumer(String consumer) {
            this.consumer = Checks.text("consumer", consumer);
            return this;
        }

        /** How many events a subscription holds at once, 1 to 100,000; 64 by default. */
        public Builder maxInFlight(int events) {
            this.maxInFlight = Checks.between("max_in_flight", events, 1, MOST_IN_FLIGHT);
            return this;
        }

        /** How many bytes of events a subscription holds at once, up to 1 GiB; 16 MiB by default. */
        public Builder maxInFlightBytes(long bytes) {
            this.maxInFlightBytes = bytes;
            return this;
        }

        /**
         * Runs the handlers, on threads of its own: one that runs a task on the thread that submits it would block the
         * worker. It should have as many threads as {@link #concurrency} allows; the worker does not shut it down.
         * Without it, each handler has a thread: a virtual one from Java 21 on, otherwise a platform thread.
         */
        public Builder executor(Executor executor) {
            this.executor = Objects.requireNonNull(executor, "executor");
            return this;
        }

        /**
         * How many handlers of a subscription run at once, each on a thread: as many as {@link #maxInFlight} by
         * default. A smaller number prefetches: the next event is already here when a handler ends. In a group with
         * limits, nothing is prefetched: it would count although no handler has begun.
         */
        public Builder concurrency(int handlers) {
            this.concurrency = Checks.between("concurrency", handlers, 1, MOST_IN_FLIGHT);
            return this;
        }

        /**
         * How soon an event goes to another worker when this one hangs and its connection stays open: 100 ms to 12 h,
         * 30 s by default.
         */
        public Builder lease(Duration lease) {
            this.lease = Checks.between("lease", lease, SHORTEST_LEASE, LONGEST_LEASE);
            return this;
        }

        /** How soon events go to another worker when the connection breaks: 0 to 1 h; the server's setting by default. */
        public Builder disconnectGrace(Duration grace) {
            this.disconnectGrace = grace;
            return this;
        }

        /** How long a handler may run: 50 s by default. Then its thread is interrupted, and the event nacked. */
        public Builder maxExecution(Duration atMost) {
            this.maxExecution = Checks.positive("max_execution", atMost);
            return this;
        }

        /** How long a stop waits for running handlers: 25 s by default. */
        public Builder drainTimeout(Duration atMost) {
            this.drainTimeout = Checks.between("drain_timeout", atMost, Duration.ZERO, Duration.ofDays(1));
            return this;
        }

        /**
         * Makes the worker. It does nothing until it is started.
         *
         * @throws DueBusException INVALID_ARGUMENT: there is no handler, or a topic or a group that can't be sent
         */
        public Worker build() {
            if (registrations.isEmpty()) {
                throw DueBusException.invalid("worker", "has no handler");
            }
            var settings = new WorkerSettings(
                    ephemeral,
                    engine,
                    consumer,
                    maxInFlight,
                    maxInFlightBytes,
                    concurrency == null ? maxInFlight : concurrency,
                    lease,
                    disconnectGrace,
                    maxExecution,
                    drainTimeout);
            return new Worker(bus, settings, registrations.stream().map(this::resolved).toList(), executor);
        }

        private Registration resolved(Registration each) {
            String ownGroup = each.group() == null ? group : each.group();
            return new Registration(
                    Checks.text("topic", each.topic()), Checks.text("group", ownGroup), each.handler());
        }

        private static String host() {
            try {
                return InetAddress.getLocalHost().getHostName();
            } catch (UnknownHostException error) {
                return "unknown";
            }
        }
    }
}
