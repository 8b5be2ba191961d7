package io.duebus;

/** Thrown by a handler to make the event a dead letter at once, if a retry can't help. */
public final class DeadLetter extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** The message becomes the event's last error. */
    public DeadLetter(String message) {
        super(message);
    }

    /** The message becomes the event's last error; the cause is for the log. */
    public DeadLetter(String message, Throwable cause) {
        super(message, cause);
    }
}
