package io.duebus;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalInt;

/**
 * An event to dispatch, now, later or by a schedule. The server chooses what is not set.
 *
 * <pre>{@code
 * Event.json("{\"id\":42}").id("order-42").delay(Duration.ofMinutes(30)).build()
 * }</pre>
 */
public final class Event {
    private final io.duebus.v1.Event message;

    private Event(io.duebus.v1.Event message) {
        this.message = message;
    }

    /** An event with only a payload, of at most 1 MiB, opaque to the bus. */
    public static Event of(byte[] data) {
        return builder(data).build();
    }

    /** Starts building an event with this payload. */
    public static Builder builder(byte[] data) {
        return new Builder(io.duebus.v1.Event.newBuilder().setData(com.google.protobuf.ByteString.copyFrom(
                Objects.requireNonNull(data, "data"))));
    }

    /** Starts building an event whose payload is this JSON text, made by the JSON library of your choice. */
    public static Builder json(String json) {
        return builder(Objects.requireNonNull(json, "json").getBytes(StandardCharsets.UTF_8))
                .contentType("application/json");
    }

    static Event read(io.duebus.v1.Event message) {
        return new Event(message);
    }

    /** Starts building an event like this one. */
    public Builder toBuilder() {
        return new Builder(message.toBuilder());
    }

    /** Empty: the server makes one. */
    public String id() {
        return message.getId();
    }

    /** The payload; a copy. */
    public byte[] data() {
        return message.getData().toByteArray();
    }

    /** The payload, read as UTF-8. */
    public String text() {
        return message.getData().toStringUtf8();
    }

    public String contentType() {
        return message.getContentType();
    }

    public Map<String, String> attributes() {
        return message.getAttributesMap();
    }

    /** What the event is in order by; empty for none. */
    public String key() {
        return message.getKey();
    }

    /** The event's head start in seconds. */
    public int priority() {
        return message.getPriority();
    }

    /** Empty: by the topic's retry policy. */
    public OptionalInt maxRetries() {
        return message.hasMaxRetries() ? OptionalInt.of(message.getMaxRetries()) : OptionalInt.empty();
    }

    /** Whether the other is sent as this one is. */
    @Override
    public boolean equals(Object other) {
        return other instanceof Event event && event.message.equals(message);
    }

    @Override
    public int hashCode() {
        return message.hashCode();
    }

    /**
     * The event as it is sent.
     *
     * @param path is a prefix for field names in errors, for example {@code events[3].}
     */
    io.duebus.v1.Event encode(String path) {
        Checks.text(path + "id", message.getId());
        Checks.text(path + "content_type", message.getContentType());
        Checks.text(path + "key", message.getKey());
        message.getAttributesMap().forEach((name, value) -> {
            Checks.text(path + "attributes", name);
            Checks.text(path + "attributes[\"" + name + "\"]", value);
        });
        return message;
    }

    /** Builds an event. */
    public static final class Builder {
        private final io.duebus.v1.Event.Builder message;

        private Builder(io.duebus.v1.Event.Builder message) {
            this.message = message;
        }

        /**
         * Unique within the topic, at most 255 bytes of printable text. An event whose id the topic holds, or held
         * within its dedupe window, adds nothing. Not set: the server makes a UUIDv7.
         */
        public Builder id(String id) {
            message.setId(Objects.requireNonNull(id, "id"));
            return this;
        }

        /** The media type of the payload, at most 255 bytes. */
        public Builder contentType(String contentType) {
            message.setContentType(Objects.requireNonNull(contentType, "content_type"));
            return this;
        }

        /** Metadata for handlers, at most 64 KiB of names and values together. */
        public Builder attributes(Map<String, String> attributes) {
            Objects.requireNonNull(attributes, "attributes").forEach(this::attribute);
            return this;
        }

        /** Adds one attribute. */
        public Builder attribute(String name, String value) {
            message.putAttributes(
                    Objects.requireNonNull(name, "attributes"),
                    Objects.requireNonNull(value, () -> "attributes[\"" + name + "\"]"));
            return this;
        }

        /** How long after it was stored the event is due, up to 10 years. Replaces {@link #deliverAt}. */
        public Builder delay(Duration delay) {
            message.setDelay(Times.proto(Objects.requireNonNull(delay, "delay")));
            return this;
        }

        /** When the event is due; a past time means now. Replaces {@link #delay}. */
        public Builder deliverAt(Instant moment) {
            message.setDeliverAt(Times.proto(Objects.requireNonNull(moment, "deliver_at")));
            return this;
        }

        /** How many times the event is retried before it is dead; not set: by the topic's retry policy. */
        public Builder maxRetries(int retries) {
            message.setMaxRetries(Checks.notNegative("max_retries", retries));
            return this;
        }

        /**
         * What the event is in order by, for example an order's number: at most 255 bytes of printable text. A group
         * gets the events of a key one at a time, in the order in which they are due. Not set: in no order.
         */
        public Builder key(String key) {
            message.setKey(Objects.requireNonNull(key, "key"));
            return this;
        }

        /**
         * A head start in seconds, -86,400 to 86,400: of the events of a group that are due, one of priority p is
         * delivered as if it had been due p seconds earlier. It is never early, and does not overtake events with its
         * key.
         */
        public Builder priority(int seconds) {
            message.setPriority(seconds);
            return this;
        }

        public Event build() {
            return new Event(message.build());
        }
    }
}
