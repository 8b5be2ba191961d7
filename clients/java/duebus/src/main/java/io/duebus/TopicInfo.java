package io.duebus;

import io.duebus.v1.Engine;
import io.duebus.v1.GroupInfo;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A topic and its groups.
 *
 * @param engine where its events are
 * @param queued how many events it holds, each counted once; dead letters are not counted
 * @param problem in a list, why the topic can't be shown; its other fields are then unknown. Otherwise empty
 * @param durable whether its events outlive the server's process
 * @param lateness of the last five minutes; null if nothing was delivered
 * @param minutes by {@link Admin#getTopic}: those of the last hour in which something happened, oldest first
 */
public record TopicInfo(
        String topic,
        Engine engine,
        TopicConfig config,
        long queued,
        List<Group> groups,
        String problem,
        boolean durable,
        @Nullable Lateness lateness,
        List<Minute> minutes) {

    /**
     * One group of a topic.
     *
     * @param group its name; empty for the events that wait for the topic's first lasting group
     * @param ephemeral whether it is removed after its last subscriber leaves
     * @param scheduled how many of its events wait for their due time
     * @param ready how many are due
     * @param leased how many are held by subscribers
     * @param blocked how many are due, but their key is taken
     * @param dead how many are dead letters
     * @param oldestReadyAge how long the ready event that has waited longest has been due; null if none is ready
     * @param oldestBlockedAge how long the blocked event that has waited longest has been due; null if none is blocked
     * @param rates averages over the last minute
     * @param retryPolicy the policy in force
     * @param limits the limits in force; null: none
     * @param keys the key policy in force; null: the default
     * @param throttledUntil when the limits or a pause next allow a delivery; null while they hold nothing up
     * @param lateness of the last five minutes; null if nothing was delivered
     */
    public record Group(
            String group,
            boolean paused,
            boolean ephemeral,
            long scheduled,
            long ready,
            long leased,
            long blocked,
            long dead,
            List<Subscriber> subscribers,
            @Nullable Duration oldestReadyAge,
            @Nullable Duration oldestBlockedAge,
            Rates rates,
            TopicConfig.RetryPolicy retryPolicy,
            @Nullable Limits limits,
            @Nullable KeyPolicy keys,
            @Nullable Instant throttledUntil,
            @Nullable Lateness lateness) {

        private static Group read(GroupInfo message) {
            return new Group(
                    message.getGroup(),
                    message.getPaused(),
                    message.getEphemeral(),
                    message.getScheduled(),
                    message.getReady(),
                    message.getLeased(),
                    message.getBlocked(),
                    message.getDead(),
                    message.getSubscribersList().stream().map(Subscriber::read).toList(),
                    message.hasOldestReadyAge() ? Times.read(message.getOldestReadyAge()) : null,
                    message.hasOldestBlockedAge() ? Times.read(message.getOldestBlockedAge()) : null,
                    Rates.read(message.getRates()),
                    TopicConfig.RetryPolicy.read(message.getRetryPolicy()),
                    message.hasLimits() ? Limits.read(message.getLimits()) : null,
                    message.hasKeys() ? KeyPolicy.read(message.getKeys()) : null,
                    message.hasThrottledUntil() ? Times.read(message.getThrottledUntil()) : null,
                    message.hasLateness() ? Lateness.read(message.getLateness()) : null);
        }
    }

    /**
     * One open stream.
     *
     * @param consumer as the subscriber named itself; may be empty
     * @param inFlight how many deliveries it holds
     */
    public record Subscriber(String sessionId, String consumer, int inFlight, Instant connectedAt) {
        private static Subscriber read(io.duebus.v1.Subscriber message) {
            return new Subscriber(
                    message.getSessionId(),
                    message.getConsumer(),
                    message.getInFlight(),
                    Times.read(message.getConnectedAt()));
        }
    }

    /** Averages over the last minute, in events a second. */
    public record Rates(double dispatched, double delivered, double acked, double nacked) {
        private static Rates read(io.duebus.v1.Rates message) {
            return new Rates(
                    message.getDispatched(), message.getDelivered(), message.getAcked(), message.getNacked());
        }
    }

    /**
     * How late deliveries were: the time from due to delivered. Estimates, within a power of two.
     *
     * @param p50 what half of the deliveries did not exceed
     * @param p99 what 99 of 100 deliveries did not exceed
     */
    public record Lateness(Duration p50, Duration p99) {
        private static Lateness read(io.duebus.v1.Lateness message) {
            return new Lateness(Times.read(message.getP50()), Times.read(message.getP99()));
        }
    }

    /**
     * What a topic did in one minute.
     *
     * @param start when it began
     * @param groups those that did something
     * @param lateness null if nothing was delivered
     */
    public record Minute(Instant start, long dispatched, List<GroupMinute> groups, @Nullable Lateness lateness) {
        private static Minute read(io.duebus.v1.TopicMinute message) {
            return new Minute(
                    Times.read(message.getStart()),
                    message.getDispatched(),
                    message.getGroupsList().stream().map(GroupMinute::read).toList(),
                    message.hasLateness() ? Lateness.read(message.getLateness()) : null);
        }
    }

    /**
     * What a group did in one minute.
     *
     * @param lateness null if nothing was delivered
     */
    public record GroupMinute(
            String group, long delivered, long acked, long nacked, long dead, @Nullable Lateness lateness) {
        private static GroupMinute read(io.duebus.v1.GroupMinute message) {
            return new GroupMinute(
                    message.getGroup(),
                    message.getDelivered(),
                    message.getAcked(),
                    message.getNacked(),
                    message.getDead(),
                    message.hasLateness() ? Lateness.read(message.getLateness()) : null);
        }
    }

    static TopicInfo read(io.duebus.v1.TopicInfo message) {
        return new TopicInfo(
                message.getTopic(),
                message.getEngine(),
                TopicConfig.read(message.getConfig()),
                message.getQueued(),
                message.getGroupsList().stream().map(Group::read).toList(),
                message.getProblem(),
                message.getDurable(),
                message.hasLateness() ? Lateness.read(message.getLateness()) : null,
                message.getMinutesList().stream().map(Minute::read).toList());
    }
}
