package io.duebus;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * The settings of a topic. {@link TopicChanges} changes them.
 *
 * @param retryPolicy what happens to an event that fails
 * @param lease how long a delivery is leased unless the subscriber sets its own lease
 * @param maxQueued how many events may wait, be leased or be scheduled; 0: no limit
 * @param deadLetterRetention dead letters are purged this long after they died; zero: never
 * @param dedupeWindow how long request ids, and ids of events that are gone, are remembered
 * @param partitions how many partitions the events are spread over
 * @param limits of each group that has none of its own; null: none
 * @param keys of each group that has none of its own; null: the default
 */
public record TopicConfig(
        RetryPolicy retryPolicy,
        Duration lease,
        long maxQueued,
        Duration deadLetterRetention,
        Duration dedupeWindow,
        int partitions,
        @Nullable Limits limits,
        @Nullable KeyPolicy keys) {

    /**
     * What happens to an event that fails.
     *
     * @param maxRetries how many times it is retried before it is dead
     * @param backoffInitial the backoff before the first retry; it doubles with each, and varies by ±20 % at random
     * @param backoffMax the longest backoff
     */
    public record RetryPolicy(int maxRetries, Duration backoffInitial, Duration backoffMax) {
        static RetryPolicy read(io.duebus.v1.RetryPolicy message) {
            return new RetryPolicy(
                    message.getMaxRetries(),
                    Times.read(message.getBackoffInitial()),
                    Times.read(message.getBackoffMax()));
        }
    }

    static TopicConfig read(io.duebus.v1.TopicConfig message) {
        return new TopicConfig(
                RetryPolicy.read(message.getRetryPolicy()),
                Times.read(message.getLease()),
                message.getMaxQueued(),
                Times.read(message.getDeadLetterRetention()),
                Times.read(message.getDedupeWindow()),
                message.hasPartitions() ? message.getPartitions() : 1,
                message.hasLimits() ? Limits.read(message.getLimits()) : null,
                message.hasKeys() ? KeyPolicy.read(message.getKeys()) : null);
    }
}
