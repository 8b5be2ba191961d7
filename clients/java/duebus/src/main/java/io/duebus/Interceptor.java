package io.duebus;

import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.BiConsumer;

/**
 * Comes between a client and the calls of its user: for traces, metrics, defaults. Of several interceptors, the first is
 * the outermost. Its methods are called by many threads at once.
 */
public interface Interceptor {
    /** Dispatches events; the results are in their order. */
    @FunctionalInterface
    interface Dispatching {
        CompletableFuture<List<Dispatched>> dispatch(List<Event> events);
    }

    /**
     * Called for each dispatch, on the caller's thread. It must not block.
     *
     * @param next dispatches the events, or others in their place
     */
    default CompletableFuture<List<Dispatched>> dispatch(String topic, List<Event> events, Dispatching next) {
        return next.dispatch(events);
    }

    /**
     * Called for each delivery that a worker of the client handles, on the handler's thread. How it ends decides about the
     * event, as it does for a {@link Handler}.
     */
    default void handle(Delivery delivery, Handler next) throws Exception {
        next.handle(delivery);
    }

    /**
     * Returns a future that completes as {@code results} does, after {@code then} was called with the results or the error,
     * whatever it throws. Cancelling it cancels {@code results}.
     */
    static <T> CompletableFuture<T> afterwards(
            CompletableFuture<T> results, BiConsumer<? super T, ? super Throwable> then) {
        var after = new CompletableFuture<T>();
        results.whenComplete((result, error) -> {
            try {
                then.accept(result, error);
            } finally {
                if (error == null) {
                    after.complete(result);
                } else {
                    after.completeExceptionally(error);
                }
            }
        });
        after.whenComplete((result, error) -> {
            if (after.isCancelled()) {
                results.cancel(true);
            }
        });
        return after;
    }

    /** Metadata that each call and each stream carries; called when it begins. */
    default Map<String, String> metadata() {
        return Map.of();
    }
}
