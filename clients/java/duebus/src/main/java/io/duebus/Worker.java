package io.duebus;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.function.Function;

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
    record Registration(String topic, Handler handler, WorkerSettings settings) {
        Registration with(Interceptors interceptors) {
            return new Registration(topic, interceptors.around(handler), settings);
        }
    }

    private final ExecutorService threads = Threads.ofHandlers("duebus-handler");
    private final ScheduledExecutorService timer = Threads.timer("duebus-worker");
    private final List<Subscription> subscriptions;
    private final AtomicBoolean begun = new AtomicBoolean();
    private final AtomicReference<DueBusException> failure = new AtomicReference<>();
    private final CompletableFuture<Void> ready;
    private final CompletableFuture<Void> ended = new CompletableFuture<>();

    private Worker(DueBus bus, List<Registration> registrations) {
        subscriptions = registrations.stream()
                .map(each -> new Subscription(bus.connection(), each.with(bus.interceptors()), threads, timer))
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
        threads.shutdown();
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

    /** Builds a worker. Its options are those of every handler that does not set its own. */
    public static final class Builder extends HandlingOptions<Builder> {
        private final DueBus bus;
        private final List<Function<Builder, Registration>> registrations = new ArrayList<>();

        private Builder(DueBus bus) {
            this.bus = Objects.requireNonNull(bus, "bus");
        }

        @Override
        Builder self() {
            return this;
        }

        /** Registers a handler for a topic. */
        public Builder handle(String topic, Handler handler) {
            return handle(topic, options -> {}, handler);
        }

        /**
         * Registers a handler for a topic, with options of its own: {@code handle("order.paid", options ->
         * options.group("shipping").maxInFlight(4), this::ship)}. The worker calls {@code own} when it is built.
         */
        public Builder handle(String topic, Consumer<HandlerOptions> own, Handler handler) {
            Checks.text("topic", topic);
            Objects.requireNonNull(own, "own");
            Objects.requireNonNull(handler, "handler");
            registrations.add(worker -> {
                var options = new HandlerOptions(worker);
                own.accept(options);
                return new Registration(topic, handler, options.settings());
            });
            return this;
        }

        /**
         * Makes the worker. It does nothing until it is started.
         *
         * @throws DueBusException INVALID_ARGUMENT: there is no handler
         */
        public Worker build() {
            if (registrations.isEmpty()) {
                throw DueBusException.invalid("worker", "has no handler");
            }
            return new Worker(bus, registrations.stream().map(each -> each.apply(this)).toList());
        }
    }
}
