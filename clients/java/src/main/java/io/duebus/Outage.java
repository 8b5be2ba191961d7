package io.duebus;

import java.lang.System.Logger.Level;
import java.time.Duration;

/**
 * Picks the level of the log lines while a server is away: a warning at first and then once a minute; the others are for
 * debugging. Its owner sees to it that one thread at a time uses it.
 */
final class Outage {
    private static final long INTERVAL = Duration.ofMinutes(1).toNanos();

    private boolean warned;
    private long warnedAt;

    /** The level of the line about the next failure. */
    Level level() {
        long now = System.nanoTime();
        if (warned && now - warnedAt < INTERVAL) {
            return Level.DEBUG;
        }
        warned = true;
        warnedAt = now;
        return Level.WARNING;
    }

    /** Says that the server has answered. */
    void over() {
        warned = false;
    }
}
