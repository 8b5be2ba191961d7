package io.duebus.driver;

import com.google.gson.Gson;
import com.google.gson.annotations.SerializedName;
import io.duebus.DueBus;
import io.duebus.Event;
import io.duebus.Worker;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;

/**
 * The program that tests/bench/clients.py measures: callers that dispatch single events, and a worker that drains them.
 *
 * <p>The other clients have the same program. It takes its arguments as JSON, prints "ready" before and after each part,
 * waits for a line on standard input each time, and prints its result as JSON.
 */
public final class Bench {
    private record Arguments(
            String target,
            String topic,
            @SerializedName("payload_bytes") int payloadBytes,
            @SerializedName("warm_up") int warmUp,
            int events,
            int callers,
            int backlog,
            @SerializedName("max_in_flight") int maxInFlight) {}

    private record Result(
            @SerializedName("dispatch_per_s") double dispatchPerS,
            @SerializedName("drain_per_s") double drainPerS,
            int handled,
            int distinct) {}

    private final Arguments given;
    private final DueBus bus;
    private final BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    private Bench(Arguments given, DueBus bus) {
        this.given = given;
        this.bus = bus;
    }

    public static void main(String[] arguments) throws Exception {
        var given = new Gson().fromJson(arguments[0], Arguments.class);
        try (var bus = DueBus.connect(given.target)) {
            System.out.println(new Gson().toJson(new Bench(given, bus).measure()));
        }
    }

    /** Warms up, and measures both parts. */
    private Result measure() throws Exception {
        dispatch(given.warmUp);
        drain(given.warmUp);
        awaitSignal();
        double perS = dispatch(given.events);
        awaitSignal();
        var drained = drain(given.backlog);
        awaitSignal();
        return new Result(perS, drained.perS(), drained.handled, drained.seen.size());
    }

    private void awaitSignal() throws IOException {
        System.out.println("ready");
        input.readLine();
    }

    /** Each caller dispatches one event after the other, until there are enough. Returns how many a second. */
    private double dispatch(int events) {
        var data = new byte[given.payloadBytes];
        Arrays.fill(data, (byte) 'x');
        var taken = new AtomicInteger();
        long began = System.nanoTime();
        var callers = Stream.generate(() -> caller(data, taken, events)).limit(given.callers);
        CompletableFuture.allOf(callers.toArray(CompletableFuture[]::new)).join();
        return events * 1e9 / (System.nanoTime() - began);
    }

    /** A caller without a thread of its own, as a coroutine is. */
    private CompletableFuture<?> caller(byte[] data, AtomicInteger taken, int events) {
        if (taken.incrementAndGet() > events) {
            return CompletableFuture.completedFuture(null);
        }
        return bus.dispatchAsync(given.topic, Event.of(data)).thenCompose(dispatched -> caller(data, taken, events));
    }

    /** Handles all events of the topic. */
    private Drained drain(int events) throws InterruptedException {
        var drained = new Drained(events);
        try (var worker = Worker.builder(bus)
                .maxInFlight(given.maxInFlight)
                .handle(given.topic, delivery -> drained.handled(delivery.eventId()))
                .build()) {
            worker.start();
            drained.all.await();
        }
        return drained;
    }

    /** What a worker has handled. */
    private static final class Drained {
        final int events;
        final CountDownLatch all = new CountDownLatch(1);
        final HashSet<String> seen;
        int handled;
        long began;
        long ended;

        Drained(int events) {
            this.events = events;
            this.seen = new HashSet<>(2 * events);
        }

        synchronized void handled(String eventId) {
            if (handled++ == 0) {
                began = System.nanoTime();
            }
            if (seen.add(eventId) && seen.size() == events) {
                ended = System.nanoTime();
                all.countDown();
            }
        }

        /** Events a second, from the first handler to the last. */
        double perS() {
            return events * 1e9 / (ended - began);
        }
    }
}
