package io.duebus;

import java.time.Instant;
import org.jspecify.annotations.Nullable;

/**
 * A key in a group.
 *
 * @param blocked how many of its events are blocked
 * @param inFlight how many of its events are leased
 * @param headEventId the event that the blocked ones wait for
 * @param held whether a dead letter closes it
 * @param opensAt when its rate, or a pause, next allows a delivery; null while neither holds it up
 */
public record KeyInfo(
        String key, long blocked, int inFlight, String headEventId, boolean held, @Nullable Instant opensAt) {

    static KeyInfo read(io.duebus.v1.KeyInfo message) {
        return new KeyInfo(
                message.getKey(),
                message.getBlocked(),
                message.getInFlight(),
                message.getHeadEventId(),
                message.getHeld(),
                message.hasOpensAt() ? Times.read(message.getOpensAt()) : null);
    }
}
