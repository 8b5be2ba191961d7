package io.duebus;

import java.lang.System.Logger.Level;
import java.time.Duration;

/**
 * Picks the level of log lines during an outage: a warning first and then once a minute, otherwise debug. The owner
 * lets one thread at a time use it.
 */
final class Outage {
    private static final long INTERVAL = Duration.ofMinutes(1).toNanos();

    private boolean warned;
    private long warnedAt;

    /** The level of the next failure's line. */
    Level level() {
        long now = System.nanoTime();
        if (warned && now - warnedAt < INTERVAL) {
            return Level.DEBUG;
        }
        warned = true;
        warnedAt = now;
        return Level.WARNING;
    }

    /** Notes that the server has answered. */
    void over() {
        warned = false;
    }
}
