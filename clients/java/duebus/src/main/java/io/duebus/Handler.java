package io.duebus;

import java.util.Objects;

/**
 * Handles one delivery, on a thread of the worker. What happens to the event:
 *
 * <ul>
 *   <li>it returns: acked;
 *   <li>it throws anything: nacked with its text, retried after the topic's backoff;
 *   <li>it throws {@link RetryAfter}, {@link RateLimited}, {@link DeadLetter} or {@link Release}: what they ask for;
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

    /**
     * A handler that gets the decoded payload. If the decoder throws or returns null, the event becomes a dead letter with
     * the reason, because no retry can help, and the handler is not called.
     */
    static <T> Handler typed(Decoder<? extends T> decoder, TypedHandler<? super T> handler) {
        Objects.requireNonNull(decoder, "decoder");
        Objects.requireNonNull(handler, "handler");
        return delivery -> handler.handle(decoded(decoder, delivery), delivery);
    }

    private static <T> T decoded(Decoder<T> decoder, Delivery delivery) throws Exception {
        T payload;
        try {
            payload = decoder.decode(delivery.data());
        } catch (InterruptedException interrupted) {
            throw interrupted;
        } catch (Exception error) {
            throw new DeadLetter("the payload does not fit: " + error.getMessage(), error);
        }
        if (payload == null) {
            throw new DeadLetter("the payload does not fit: it is null");
        }
        return payload;
    }
}
