package io.duebus;

/**
 * Handles one delivery, on a thread of the worker. What happens to the event:
 *
 * <ul>
 *   <li>it returns: acked;
 *   <li>it throws anything: nacked with its text, retried after the topic's backoff;
 *   <li>it throws {@link RetryAfter}, {@link DeadLetter} or {@link Release}: what they ask for;
 *   <li>its thread is interrupted, because it ran for longer than the worker allows, or because the worker stops and does
 *       not wait any longer: nacked, or released. Its outcome is then ignored. A handler that has not ended a second
 *       later is abandoned: it keeps its slot until it ends;
 *   <li>its thread is interrupted because the lease was lost: nothing is settled, because another worker may have the
 * event.
 * </ul>
 */
@FunctionalInterface
public interface Handler {
    /** Handles the event. Delivery is at least once: it should be idempotent. */
    void handle(Delivery delivery) throws Exception;
}
