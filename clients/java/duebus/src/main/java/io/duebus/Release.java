package io.duebus;

/** Thrown by a handler to release the event: it is ready again at once, and the attempt is not counted. */
public final class Release extends RuntimeException {
    private static final long serialVersionUID = 1;

    public Release() {
        super("the event is released");
    }
}
