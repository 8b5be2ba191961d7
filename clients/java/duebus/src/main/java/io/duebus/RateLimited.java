package io.duebus;

import java.time.Duration;
import java.util.Objects;

/**
 * Thrown by a handler whose work was refused because there is too much of it, for example with the HTTP status 429:
 * nothing of the event's key, or of its group, is delivered for a while, to any worker, and the attempt is not counted.
 * If the event has no key that could be paused, it is retried after that time.
 */
public final class RateLimited extends RuntimeException {
    private static final long serialVersionUID = 1;
    private static final Duration SHORTEST = Duration.ofMillis(1);
    private static final Duration LONGEST = Duration.ofHours(1);

    /** What is held up. */
    public enum Scope {
        /** The events with the same key. */
        KEY,
        /** All events of the group. */
        GROUP
    }

    private final Duration after;
    private final Scope scope;

    /** Holds up the events with the same key. */
    public RateLimited(Duration after) {
        this(after, Scope.KEY);
    }

    /** @param after how long; less than 1 ms is 1 ms, and more than 1 h is 1 h */
    public RateLimited(Duration after, Scope scope) {
        this(after, scope, "rate limited for " + after);
    }

    /** As the other; the message is for the log. */
    public RateLimited(Duration after, Scope scope, String message) {
        super(message);
        this.after = Times.max(SHORTEST, Times.min(after, LONGEST));
        this.scope = Objects.requireNonNull(scope, "scope");
    }

    /** As the other; the cause is for the log. */
    public RateLimited(Duration after, Scope scope, String message, Throwable cause) {
        this(after, scope, message);
        initCause(cause);
    }

    public Duration after() {
        return after;
    }

    public Scope scope() {
        return scope;
    }
}
