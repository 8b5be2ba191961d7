package io.duebus;

/** A {@link Handler} that gets the decoded payload. {@link Handler#typed} makes a handler of it. */
@FunctionalInterface
public interface TypedHandler<T> {
    /** Handles the event, as {@link Handler#handle} does. */
    void handle(T payload, Delivery delivery) throws Exception;
}
