package io.duebus;

import java.time.Instant;
import java.util.Map;

/** An event leased to this worker. The same event may be delivered more than once. */
public final class Delivery {
    private final io.duebus.v1.Delivery message;

    private Delivery(io.duebus.v1.Delivery message) {
        this.message = message;
    }

    /** Reads a delivery of the generated stubs. */
    public static Delivery of(io.duebus.v1.Delivery message) {
        return new Delivery(message);
    }

    public String eventId() {
        return message.getEvent().getId();
    }

    /** The payload; a copy. */
    public byte[] data() {
        return message.getEvent().getData().toByteArray();
    }

    /** The payload, read as UTF-8. */
    public String text() {
        return message.getEvent().getData().toStringUtf8();
    }

    public String contentType() {
        return message.getEvent().getContentType();
    }

    public Map<String, String> attributes() {
        return message.getEvent().getAttributesMap();
    }

    /** What the event is in order by; empty for none. */
    public String key() {
        return message.getEvent().getKey();
    }

    /** The event's head start in seconds. */
    public int priority() {
        return message.getEvent().getPriority();
    }

    public String topic() {
        return message.getTopic();
    }

    public String group() {
        return message.getGroup();
    }

    /** The token that settles this delivery, on any replica. Opaque. */
    public String leaseToken() {
        return message.getLeaseToken();
    }

    /**
     * Grows with every lease of the event, and of the events with its key: a write guarded by "only if greater" can't
     * be undone by a holder whose lease has run out.
     */
    public long fencingToken() {
        return message.getFencingToken();
    }

    /** The number of the attempt, from 1. A release is not counted. */
    public int attempt() {
        return message.getAttempt();
    }

    /** When the event was due; for a retry, when the retry was due. */
    public Instant deliverAt() {
        return Times.read(message.getDeliverAt());
    }

    /** When the engine stored the event, by the engine's clock. */
    public Instant dispatchedAt() {
        return Times.read(message.getDispatchedAt());
    }

    /** By the engine's clock, as it was when the event arrived; a worker extends leases while handlers run. */
    public Instant leaseExpiresAt() {
        return Times.read(message.getLeaseExpiresAt());
    }

    /** Why the previous attempt failed; empty on the first attempt. */
    public String lastError() {
        return message.getLastError();
    }

    @Override
    public String toString() {
        return "Delivery[event=%s, topic=%s, group=%s, attempt=%d]".formatted(eventId(), topic(), group(), attempt());
    }
}
