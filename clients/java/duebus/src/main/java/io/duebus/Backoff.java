package io.duebus;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Pauses that double from the first to the longest, each shortened at random by up to half: the jitter keeps clients
 * from reconnecting all at once when a server restarts. The owner lets one thread at a time use it.
 */
final class Backoff {
    private final long firstMs;
    private final long longestMs;
    private long nextMs;

    private Backoff(Duration first, Duration longest) {
        this.firstMs = first.toMillis();
        this.longestMs = longest.toMillis();
        this.nextMs = firstMs;
    }

    /** Between tries of a call. */
    static Backoff ofCalls() {
        return new Backoff(Duration.ofMillis(100), Duration.ofSeconds(2));
    }

    /**
     * Between streams: short at first, because most broken streams can be reopened at once. It stays below three
     * seconds, after which the leases of a killed server run out unless a worker has named or settled them.
     */
    static Backoff ofStreams() {
        return new Backoff(Duration.ofMillis(100), Duration.ofSeconds(1));
    }

    Duration next() {
        long pause = nextMs;
        nextMs = Math.min(longestMs, pause * 2);
        return Duration.ofMillis(ThreadLocalRandom.current().nextLong(pause / 2, pause + 1));
    }

    /** Starts over after a try that succeeded. */
    void reset() {
        nextMs = firstMs;
    }
}
