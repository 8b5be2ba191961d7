package io.duebus;

import io.duebus.v1.Engine;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.Executor;

/**
 * How events are subscribed to and handled: those of a worker, or of one handler.
 *
 * @param <T> what the methods return, to be chained
 */
public abstract sealed class HandlingOptions<T extends HandlingOptions<T>> permits Worker.Builder, HandlerOptions {
    private static final Duration SHORTEST_LEASE = Duration.ofMillis(100);
    private static final Duration LONGEST_LEASE = Duration.ofHours(12);
    private static final int MOST_IN_FLIGHT = 100_000;

    private String group = "";
    private boolean ephemeral;
    private Engine engine = Engine.ENGINE_UNSPECIFIED;
    private String consumer;
    private int maxInFlight = 64;
    private long maxInFlightBytes;
    private Integer concurrency;
    private Duration lease = Duration.ofSeconds(30);
    private Duration disconnectGrace;
    private Duration maxExecution = Duration.ofSeconds(50);
    private Duration drainTimeout = Duration.ofSeconds(25);
    private Executor executor;

    /** The defaults. */
    HandlingOptions() {
        consumer = host() + "-" + ProcessHandle.current().pid();
    }

    /** A copy. */
    HandlingOptions(HandlingOptions<?> from) {
        group = from.group;
        ephemeral = from.ephemeral;
        engine = from.engine;
        consumer = from.consumer;
        maxInFlight = from.maxInFlight;
        maxInFlightBytes = from.maxInFlightBytes;
        concurrency = from.concurrency;
        lease = from.lease;
        disconnectGrace = from.disconnectGrace;
        maxExecution = from.maxExecution;
        drainTimeout = from.drainTimeout;
        executor = from.executor;
    }

    abstract T self();

    /** Names the workers that share one copy of each event; "default" otherwise. */
    public T group(String group) {
        this.group = Checks.text("group", group);
        return self();
    }

    /**
     * The groups go with their last worker, and get only what is dispatched while they exist. One without a name
     * belongs to this worker alone, so every instance of a program gets every event.
     */
    public T ephemeral(boolean ephemeral) {
        this.ephemeral = ephemeral;
        return self();
    }

    /** The engine that holds the events; the server's default engine otherwise. */
    public T engine(Engine engine) {
        this.engine = Objects.requireNonNull(engine, "engine");
        return self();
    }

    /** A name that identifies the worker in the admin views; the host's name and the process id otherwise. */
    public T consumer(String consumer) {
        this.consumer = Checks.text("consumer", consumer);
        return self();
    }

    /** How many events a subscription holds at once, 1 to 100,000; 64 by default. */
    public T maxInFlight(int events) {
        this.maxInFlight = Checks.between("max_in_flight", events, 1, MOST_IN_FLIGHT);
        return self();
    }

    /** How many bytes of events a subscription holds at once, up to 1 GiB; 16 MiB by default. */
    public T maxInFlightBytes(long bytes) {
        this.maxInFlightBytes = Checks.notNegative("max_in_flight_bytes", bytes);
        return self();
    }

    /**
     * Runs the handlers, on threads of its own: one that runs a task on the thread that submits it would block the
     * worker. It should have as many threads as {@link #concurrency} allows; the worker does not shut it down.
     * Without it, each handler has a thread: a virtual one from Java 21 on, otherwise a platform thread.
     */
    public T executor(Executor executor) {
        this.executor = Objects.requireNonNull(executor, "executor");
        return self();
    }

    /**
     * How many handlers of a subscription run at once, each on a thread: as many as {@link #maxInFlight} by
     * default. A smaller number prefetches: the next event is already here when a handler ends. In a group with
     * limits, nothing is prefetched: it would count although no handler has begun.
     */
    public T concurrency(int handlers) {
        this.concurrency = Checks.between("concurrency", handlers, 1, MOST_IN_FLIGHT);
        return self();
    }

    /**
     * How soon an event goes to another worker when this one hangs and its connection stays open: 100 ms to 12 h,
     * 30 s by default.
     */
    public T lease(Duration lease) {
        this.lease = Checks.between("lease", lease, SHORTEST_LEASE, LONGEST_LEASE);
        return self();
    }

    /** How soon events go to another worker when the connection breaks: 0 to 1 h; the server's setting by default. */
    public T disconnectGrace(Duration grace) {
        this.disconnectGrace = grace;
        return self();
    }

    /** How long a handler may run: 50 s by default. Then its thread is interrupted, and the event nacked. */
    public T maxExecution(Duration atMost) {
        this.maxExecution = Checks.positive("max_execution", atMost);
        return self();
    }

    /** How long a stop waits for running handlers: 25 s by default. */
    public T drainTimeout(Duration atMost) {
        this.drainTimeout = Checks.between("drain_timeout", atMost, Duration.ZERO, Duration.ofDays(1));
        return self();
    }

    WorkerSettings settings() {
        return new WorkerSettings(
                group,
                ephemeral,
                engine,
                consumer,
                maxInFlight,
                maxInFlightBytes,
                concurrency == null ? maxInFlight : concurrency,
                lease,
                disconnectGrace,
                maxExecution,
                drainTimeout,
                executor);
    }

    private static String host() {
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException error) {
            return "unknown";
        }
    }
}
