package io.duebus;

import io.duebus.v1.Engine;
import io.duebus.v1.SubscribeRequest;
import java.time.Duration;
import java.util.Collection;

/** The options of one {@link EventStream}. The server chooses what is not set. */
public final class SubscribeOptions {
    private final SubscribeRequest.Builder request = SubscribeRequest.newBuilder();
    private Duration timeout;

    SubscribeOptions(String topic, Duration timeout) {
        request.setTopic(Checks.text("topic", topic));
        this.timeout = timeout;
    }

    SubscribeRequest request() {
        return request.build();
    }

    Duration timeout() {
        return timeout;
    }

    /** Names the workers that share one copy of each event; "default", or with {@link #ephemeral} the server's choice. */
    public SubscribeOptions group(String group) {
        request.setGroup(Checks.text("group", group));
        return this;
    }

    /** The group goes with its last stream, and gets only what is dispatched while it exists. */
    public SubscribeOptions ephemeral(boolean ephemeral) {
        request.setEphemeral(ephemeral);
        return this;
    }

    /** The engine that holds the events; the server's default engine otherwise. */
    public SubscribeOptions engine(Engine engine) {
        request.setEngine(engine);
        return this;
    }

    /** A name that identifies the subscriber in the admin views, at most 255 bytes. */
    public SubscribeOptions consumer(String consumer) {
        request.setConsumer(Checks.text("consumer", consumer));
        return this;
    }

    /** How many events may be leased to the stream at once, 1 to 100,000; 64 otherwise. */
    public SubscribeOptions maxInFlight(int events) {
        request.setMaxInFlight(Checks.notNegative("max_in_flight", events));
        return this;
    }

    /** How many bytes of events may be leased to the stream at once, up to 1 GiB; 16 MiB otherwise. */
    public SubscribeOptions maxInFlightBytes(long bytes) {
        request.setMaxInFlightBytes(Checks.notNegative("max_in_flight_bytes", bytes));
        return this;
    }

    /** How long a delivery is leased, 100 ms to 12 h; the topic's setting otherwise. */
    public SubscribeOptions lease(Duration lease) {
        request.setLease(Times.proto(lease));
        return this;
    }

    /** How long leases last after the stream breaks, 0 to 1 h; the server's setting otherwise. */
    public SubscribeOptions disconnectGrace(Duration grace) {
        request.setDisconnectGrace(Times.proto(grace));
        return this;
    }

    /** Leases still held from a broken stream; they move to this one. */
    public SubscribeOptions heldLeaseTokens(Collection<String> tokens) {
        request.addAllHeldLeaseTokens(tokens);
        return this;
    }

    /** How long the stream may take to start; the client's timeout otherwise. */
    public SubscribeOptions timeout(Duration timeout) {
        this.timeout = Checks.positive("timeout", timeout);
        return this;
    }
}
