package io.duebus;

import java.time.Duration;

/** Thrown by a handler to retry the event after a delay; it is dead if no retries are left. */
public final class RetryAfter extends RuntimeException {
    private static final long serialVersionUID = 1;
    private static final Duration LONGEST = Duration.ofDays(3650);

    private final Duration delay;

    /**
     * @param delay 0 to 10 years; longer delays are cut to that
     * @param message becomes the event's last error
     */
    public RetryAfter(Duration delay, String message) {
        super(message);
        this.delay = Times.max(Duration.ZERO, Times.min(delay, LONGEST));
    }

    /** As the other; the cause is for the log. */
    public RetryAfter(Duration delay, String message, Throwable cause) {
        this(delay, message);
        initCause(cause);
    }

    public Duration delay() {
        return delay;
    }
}
