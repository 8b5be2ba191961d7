package io.duebus;

import io.duebus.v1.EventGroupInfo;
import java.time.Instant;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * An event and where it stands.
 *
 * @param event as it was dispatched
 * @param dataWithheld the caller may not see its data, which is therefore empty
 * @param dispatchedBy by {@link Admin#getEvent}: where it was dispatched from, if the server knows; empty otherwise
 * @param groups in a list, the group asked for; by {@link Admin#getEvent}, each group that still holds it
 */
public record EventInfo(
        Event event,
        boolean dataWithheld,
        String topic,
        Instant dispatchedAt,
        String dispatchedBy,
        List<Group> groups) {

    /**
     * Where an event stands in one group.
     *
     * @param group its name; empty while the topic has no group yet
     * @param attempts how many times the event was delivered since it was last redriven; releases are not counted
     * @param freeAttempts how many of them used up no retry, because their lease ran out
     * @param maxRetries how many times it may be retried in all
     * @param deliverAt when it is, or was, due
     * @param lastError the error of the last failed attempt
     * @param leaseExpiresAt null unless it is leased
     * @param consumer who holds it; empty unless it is leased
     * @param deadAt null unless it is dead
     * @param waitsFor while it is blocked, the id of the event that it waits for; empty if there is none
     * @param history by {@link Admin#getEvent}: the last 20 attempts, oldest first
     */
    public record Group(
            String group,
            EventState state,
            int attempts,
            int freeAttempts,
            int maxRetries,
            Instant deliverAt,
            String lastError,
            @Nullable Instant leaseExpiresAt,
            String consumer,
            @Nullable Instant deadAt,
            String waitsFor,
            List<Attempt> history) {

        private static Group read(EventGroupInfo message) {
            return new Group(
                    message.getGroup(),
                    EventState.read(message.getState()),
                    message.getAttempts(),
                    message.getFreeAttempts(),
                    message.getMaxRetries(),
                    Times.read(message.getDeliverAt()),
                    message.getLastError(),
                    message.hasLeaseExpiresAt() ? Times.read(message.getLeaseExpiresAt()) : null,
                    message.getConsumer(),
                    message.hasDeadAt() ? Times.read(message.getDeadAt()) : null,
                    message.getWaitsFor(),
                    message.getHistoryList().stream().map(Attempt::read).toList());
        }
    }

    /**
     * One delivery of an event and how it ended.
     *
     * @param attempt its number, from 1; it starts again after a redrive
     * @param endedAt null while it is under way
     * @param consumer as the subscriber named itself
     * @param redrivenAt when the event, dead since this attempt, was redriven; null if it was not
     */
    public record Attempt(
            int attempt,
            Instant startedAt,
            @Nullable Instant endedAt,
            String consumer,
            Outcome outcome,
            String error,
            @Nullable Instant redrivenAt) {

        private static Attempt read(io.duebus.v1.Attempt message) {
            return new Attempt(
                    message.getAttempt(),
                    Times.read(message.getStartedAt()),
                    message.hasEndedAt() ? Times.read(message.getEndedAt()) : null,
                    message.getConsumer(),
                    Outcome.read(message.getOutcome()),
                    message.getError(),
                    message.hasRedrivenAt() ? Times.read(message.getRedrivenAt()) : null);
        }
    }

    /** How a delivery ended. */
    public enum Outcome {
        /** It is still under way. */
        UNDER_WAY,
        /** Nacked, to be retried. */
        NACKED,
        /** Nacked as dead, or with no retries left. */
        DEAD,
        /** Given back unhandled; not counted. */
        RELEASED,
        /** Its lease ran out. */
        EXPIRED,
        /** An outcome that this version does not know. */
        UNKNOWN;

        private static Outcome read(io.duebus.v1.Attempt.Outcome outcome) {
            return switch (outcome) {
                case OUTCOME_UNSPECIFIED -> UNDER_WAY;
                case OUTCOME_NACKED -> NACKED;
                case OUTCOME_DEAD -> DEAD;
                case OUTCOME_RELEASED -> RELEASED;
                case OUTCOME_EXPIRED -> EXPIRED;
                case UNRECOGNIZED -> UNKNOWN;
            };
        }
    }

    static EventInfo read(io.duebus.v1.EventInfo message) {
        return new EventInfo(
                Event.read(message.getEvent()),
                message.getDataWithheld(),
                message.getTopic(),
                Times.read(message.getDispatchedAt()),
                message.getDispatchedBy(),
                message.getGroupsList().stream().map(Group::read).toList());
    }
}
