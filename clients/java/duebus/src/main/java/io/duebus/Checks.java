package io.duebus;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Objects;

/** Finds arguments that can't be sent. The server checks everything else. */
final class Checks {
    private Checks() {}

    /** Refuses text that protobuf can't carry: half of a surrogate pair. */
    static String text(String field, String value) {
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(Objects.requireNonNull(value, field))) {
            throw DueBusException.invalid(field, "is not valid Unicode");
        }
        return value;
    }

    /** Refuses text that is empty, where the wire would take that for what {@code none} says. */
    static String textOrNone(String field, String value, String none) {
        if (text(field, value).isEmpty()) {
            throw DueBusException.invalid(field, "is empty; leave it out for " + none);
        }
        return value;
    }

    static int between(String field, int value, int least, int most) {
        if (value < least || value > most) {
            throw DueBusException.invalid(field, "must be %d to %d, not %d".formatted(least, most, value));
        }
        return value;
    }

    /** For unsigned fields: protobuf would send a negative number as a large one. */
    static int notNegative(String field, int value) {
        return (int) notNegative(field, (long) value);
    }

    static long notNegative(String field, long value) {
        if (value < 0) {
            throw DueBusException.invalid(field, "must not be negative, but is " + value);
        }
        return value;
    }

    static Duration between(String field, Duration value, Duration least, Duration most) {
        if (Objects.requireNonNull(value, field).compareTo(least) < 0 || value.compareTo(most) > 0) {
            throw DueBusException.invalid(field, "must be %s to %s, not %s".formatted(least, most, value));
        }
        return value;
    }

    static Duration positive(String field, Duration value) {
        if (Objects.requireNonNull(value, field).isNegative() || value.isZero()) {
            throw DueBusException.invalid(field, "must be positive, not " + value);
        }
        return value;
    }
}
