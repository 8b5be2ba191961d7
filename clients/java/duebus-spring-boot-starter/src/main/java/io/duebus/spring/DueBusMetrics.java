package io.duebus.spring;

import io.duebus.Delivery;
import io.duebus.Dispatched;
import io.duebus.Event;
import io.duebus.Handler;
import io.duebus.Interceptor;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Timer;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/**
 * Timers of Micrometer: {@code duebus.dispatch} with the tag topic, {@code duebus.handle} with the tags topic and group, and
 * both with the tag error, the class of the exception or "none".
 */
final class DueBusMetrics implements Interceptor {
    private final MeterRegistry registry;

    DueBusMetrics(MeterRegistry registry) {
        this.registry = registry;
    }

    @Override
    public CompletableFuture<List<Dispatched>> dispatch(String topic, List<Event> events, Dispatching next) {
        Timer.Sample begun = Timer.start(registry);
        return Interceptor.afterwards(
                next.dispatch(events),
                (dispatched, error) ->
                        begun.stop(registry.timer("duebus.dispatch", "topic", topic, "error", name(error))));
    }

    @Override
    public void handle(Delivery delivery, Handler next) throws Exception {
        Timer.Sample begun = Timer.start(registry);
        Throwable failure = null;
        try {
            next.handle(delivery);
        } catch (Throwable error) {
            failure = error;
            throw error;
        } finally {
            begun.stop(registry.timer(
                    "duebus.handle", "topic", delivery.topic(), "group", delivery.group(), "error", name(failure)));
        }
    }

    private static String name(Throwable error) {
        return error == null ? "none" : error.getClass().getSimpleName();
    }
}
