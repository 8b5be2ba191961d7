package io.duebus;

import org.jspecify.annotations.Nullable;

/**
 * How a group handles the events with the same key.
 *
 * @param maxInFlight how many may be under way at once, 0 to 1,000: 1 keeps them in order; with 0, keys are ignored
 * @param rate how many deliveries of a key may begin in a period; null: no limit
 * @param onDead what happens to a key when one of its events becomes dead
 * @param maxBlocked how many events of a key may be blocked; 0: a tenth of the topic's {@code maxQueued}
 */
public record KeyPolicy(int maxInFlight, Limits.@Nullable Rate rate, OnDead onDead, long maxBlocked) {
    /** What happens to a key when one of its events becomes dead. */
    public enum OnDead {
        /** The next event of the key is delivered. */
        SKIP,
        /** Nothing of the key is delivered until the dead letter is redriven or purged. */
        HOLD,
        /** A choice that this version does not know; a topic can't be configured with it. */
        UNKNOWN
    }

    /** In order, one at a time. */
    public static KeyPolicy inOrder(OnDead onDead) {
        return new KeyPolicy(1, null, onDead, 0);
    }

    static KeyPolicy read(io.duebus.v1.KeyPolicy message) {
        OnDead onDead = switch (message.getOnDead()) {
            case ON_DEAD_UNSPECIFIED, ON_DEAD_SKIP -> OnDead.SKIP;
            case ON_DEAD_HOLD -> OnDead.HOLD;
            case UNRECOGNIZED -> OnDead.UNKNOWN;
        };
        return new KeyPolicy(
                message.hasMaxInFlight() ? message.getMaxInFlight() : 1,
                message.hasRate() ? Limits.Rate.read(message.getRate()) : null,
                onDead,
                message.getMaxBlocked());
    }

    io.duebus.v1.KeyPolicy encode() {
        var message = io.duebus.v1.KeyPolicy.newBuilder()
                .setMaxInFlight(Checks.notNegative("config.keys.max_in_flight", maxInFlight))
                .setMaxBlocked(Checks.notNegative("config.keys.max_blocked", maxBlocked))
                .setOnDead(switch (onDead) {
                    case SKIP -> io.duebus.v1.KeyPolicy.OnDead.ON_DEAD_SKIP;
                    case HOLD -> io.duebus.v1.KeyPolicy.OnDead.ON_DEAD_HOLD;
                    case UNKNOWN -> throw DueBusException.invalid(
                            "config.keys.on_dead", "is not known to this version");
                });
        if (rate != null) {
            message.setRate(rate.encode());
        }
        return message.build();
    }
}
