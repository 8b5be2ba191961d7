package io.duebus;

import com.google.protobuf.Duration;
import com.google.protobuf.Timestamp;
import java.time.Instant;
import java.util.List;

/** Converts between Java's times and protobuf's. */
final class Times {
    /** The longest time that fits into a long of nanoseconds, with room for sums. */
    private static final java.time.Duration LONGEST = java.time.Duration.ofDays(100 * 365);

    private Times() {}

    static Duration proto(java.time.Duration length) {
        // Protobuf's nanoseconds have the sign of its seconds.
        boolean borrow = length.getSeconds() < 0 && length.getNano() > 0;
        return Duration.newBuilder()
                .setSeconds(length.getSeconds() + (borrow ? 1 : 0))
                .setNanos(length.getNano() - (borrow ? 1_000_000_000 : 0))
                .build();
    }

    static Timestamp proto(Instant moment) {
        return Timestamp.newBuilder().setSeconds(moment.getEpochSecond()).setNanos(moment.getNano()).build();
    }

    static java.time.Duration read(Duration length) {
        return java.time.Duration.ofSeconds(length.getSeconds(), length.getNanos());
    }

    static Instant read(Timestamp moment) {
        return Instant.ofEpochSecond(moment.getSeconds(), moment.getNanos());
    }

    static List<Instant> read(List<Timestamp> moments) {
        return moments.stream().map(Times::read).toList();
    }

    /** In nanoseconds, at most a hundred years. */
    static long nanos(java.time.Duration length) {
        return min(length, LONGEST).toNanos();
    }

    static java.time.Duration min(java.time.Duration one, java.time.Duration other) {
        return one.compareTo(other) < 0 ? one : other;
    }

    static java.time.Duration max(java.time.Duration one, java.time.Duration other) {
        return one.compareTo(other) > 0 ? one : other;
    }
}
