package io.duebus;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/** Settings of a topic, or of a group, to change. Those that are not set stay. */
public final class TopicChanges {
    private final io.duebus.v1.TopicConfig.Builder message = io.duebus.v1.TopicConfig.newBuilder();

    TopicChanges() {}

    io.duebus.v1.TopicConfig encode() {
        return message.build();
    }

    /** How many times an event is retried before it is dead, 0 to 1,000,000. */
    public TopicChanges maxRetries(int retries) {
        message.getRetryPolicyBuilder().setMaxRetries(Checks.notNegative("config.retry_policy.max_retries", retries));
        return this;
    }

    /** The backoff before the first retry, 1 ms to 30 days. It doubles with each. */
    public TopicChanges backoffInitial(Duration backoff) {
        message.getRetryPolicyBuilder().setBackoffInitial(Times.proto(backoff));
        return this;
    }

    /** The longest backoff, 1 ms to 30 days. */
    public TopicChanges backoffMax(Duration backoff) {
        message.getRetryPolicyBuilder().setBackoffMax(Times.proto(backoff));
        return this;
    }

    /** How long a delivery is leased unless the subscriber sets its own lease, 100 ms to 12 h. */
    public TopicChanges lease(Duration lease) {
        message.setLease(Times.proto(lease));
        return this;
    }

    /** How many events may wait, be leased or be scheduled; 0: no limit. */
    public TopicChanges maxQueued(long events) {
        message.setMaxQueued(Checks.notNegative("config.max_queued", events));
        return this;
    }

    /** How long after they died dead letters are purged; zero: never. */
    public TopicChanges deadLetterRetention(Duration retention) {
        message.setDeadLetterRetention(Times.proto(retention));
        return this;
    }

    /** How long request ids, and ids of events that are gone, are remembered, 0 to 7 days. */
    public TopicChanges dedupeWindow(Duration window) {
        message.setDedupeWindow(Times.proto(window));
        return this;
    }

    /** How many partitions the events are spread over, 1 to 64; only while the topic holds no events. */
    public TopicChanges partitions(int partitions) {
        message.setPartitions(Checks.notNegative("config.partitions", partitions));
        return this;
    }

    /** Replaces the limits as a whole; null removes them. */
    public TopicChanges limits(@Nullable Limits limits) {
        message.setLimits(limits == null ? io.duebus.v1.Limits.getDefaultInstance() : limits.encode());
        return this;
    }

    /** Replaces the key policy as a whole; null removes it. */
    public TopicChanges keys(@Nullable KeyPolicy keys) {
        message.setKeys(keys == null ? io.duebus.v1.KeyPolicy.getDefaultInstance() : keys.encode());
        return this;
    }
}
