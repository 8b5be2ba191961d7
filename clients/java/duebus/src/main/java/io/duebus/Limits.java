package io.duebus;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * Limits on the deliveries to a group, across all its subscribers. They survive crashes.
 *
 * @param maxInFlight how many may be under way at once, 0 to 1,000,000; 0: no limit
 * @param rate how many may begin in a period; null: no limit
 */
public record Limits(int maxInFlight, @Nullable Rate rate) {
    /**
     * How many deliveries may begin in a period; one that is released is refunded.
     *
     * @param events 1 to 1,000,000; at most 1,000,000 a second
     * @param per the period, 1 ms to 1 day
     * @param burst how many may begin at once after a pause; 0: as many as may begin in 100 ms, at least 1
     */
    public record Rate(int events, Duration per, int burst) {
        static Rate read(io.duebus.v1.Rate message) {
            return new Rate(message.getEvents(), Times.read(message.getPer()), message.getBurst());
        }

        io.duebus.v1.Rate encode() {
            return io.duebus.v1.Rate.newBuilder()
                    .setEvents(Checks.notNegative("rate.events", events))
                    .setPer(Times.proto(per))
                    .setBurst(Checks.notNegative("rate.burst", burst))
                    .build();
        }
    }

    /** At most so many deliveries under way at once. */
    public static Limits maxInFlight(int deliveries) {
        return new Limits(deliveries, null);
    }

    /** So many deliveries in a period. */
    public static Limits rate(int events, Duration per) {
        return new Limits(0, new Rate(events, per, 0));
    }

    static Limits read(io.duebus.v1.Limits message) {
        return new Limits(message.getMaxInFlight(), message.hasRate() ? Rate.read(message.getRate()) : null);
    }

    io.duebus.v1.Limits encode() {
        var message = io.duebus.v1.Limits.newBuilder()
                .setMaxInFlight(Checks.notNegative("config.limits.max_in_flight", maxInFlight));
        if (rate != null) {
            message.setRate(rate.encode());
        }
        return message.build();
    }
}
