package io.duebus.driver;

import io.duebus.DueBus;
import io.duebus.EventStream;
import io.duebus.SubscribeOptions;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

/** One stream of the client, whose frames are reported until it ends. */
final class RawSubscription {
    private final String name;
    private final Output output;
    private final EventStream stream;
    private final CountDownLatch ended = new CountDownLatch(1);

    /** Waits until the stream has started. */
    RawSubscription(DueBus bus, Command command, Output output) {
        this.name = command.text("subscription");
        this.output = output;
        this.stream = bus.subscribe(command.text("topic"), options -> set(options, command));
    }

    private static void set(SubscribeOptions options, Command command) {
        options.group(command.text("group"))
                .engine(command.engine("engine"))
                .consumer(command.text("consumer"))
                .heldLeaseTokens(command.texts("held_lease_tokens"))
                .ephemeral(command.flag("ephemeral"));
        if (command.has("max_in_flight")) {
            options.maxInFlight(command.number("max_in_flight").intValue());
        }
        if (command.has("max_in_flight_bytes")) {
            options.maxInFlightBytes(command.number("max_in_flight_bytes"));
        }
        if (command.has("lease_ms")) {
            options.lease(command.millis("lease_ms"));
        }
        if (command.has("disconnect_grace_ms")) {
            options.disconnectGrace(command.millis("disconnect_grace_ms"));
        }
        if (command.has("timeout_ms")) {
            options.timeout(command.millis("timeout_ms"));
        }
    }

    /** The first frame. */
    Map<String, Object> started() {
        var started = stream.started();
        var result = new LinkedHashMap<String, Object>();
        result.put("session_id", started.sessionId());
        result.put("max_in_flight", started.maxInFlight());
        result.put("max_in_flight_bytes", started.maxInFlightBytes());
        result.put("lease_ms", started.lease().toMillis());
        result.put("disconnect_grace_ms", started.disconnectGrace().toMillis());
        result.put("lost_lease_tokens", started.lostLeaseTokens());
        result.put("group", started.group());
        return result;
    }

    /** Reports the frames, and the end. */
    void read() {
        Object error = null;
        try {
            stream.forEach(this::report);
        } catch (RuntimeException thrown) {
            error = Lines.error(thrown);
        }
        output.event("ended", "subscription", name, "error", error);
        ended.countDown();
    }

    private void report(EventStream.Frame frame) {
        if (frame instanceof EventStream.Deliveries deliveries) {
            var lines = deliveries.deliveries().stream().map(Lines::delivery).toList();
            event("deliveries", "deliveries", lines);
        } else if (frame instanceof EventStream.Heartbeat heartbeat) {
            event("heartbeat", "backlog", heartbeat.backlog());
        } else if (frame instanceof EventStream.Closing closing) {
            String reason = Lines.lower(closing.reason().name(), "REASON_");
            event("closing", "reason", reason, "reconnect_after_ms", closing.reconnectAfter().toMillis());
        } else {
            throw new IllegalStateException("a frame of another kind: " + frame);
        }
    }

    private void event(String kind, Object... fields) {
        output.event(kind, "subscription", name, fields);
    }

    void close() {
        stream.close();
    }

    void awaitEnd() throws InterruptedException {
        ended.await();
    }
}
