package io.duebus.spring;

import io.duebus.DueBus;
import io.duebus.DueBusException;
import io.duebus.HandlerOptions;
import io.duebus.Worker;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;
import org.apache.commons.logging.Log;
import org.apache.commons.logging.LogFactory;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.SmartLifecycle;
import org.springframework.core.env.Environment;

/** Runs the listeners for as long as the application runs. It is the last to start, and the first to stop. */
final class ListenerWorker implements SmartLifecycle {
    private static final Log LOG = LogFactory.getLog(ListenerWorker.class);

    private final DueBus bus;
    private final DueBusProperties.Worker properties;
    private final ConfigurableListableBeanFactory beans;
    private final Supplier<PayloadReader> reader;
    private final Environment environment;
    private volatile Worker worker; // null while there is none
    private volatile CompletableFuture<Void> ended = CompletableFuture.completedFuture(null);
    private volatile DueBusException failure;

    ListenerWorker(
            DueBus bus,
            DueBusProperties.Worker properties,
            ConfigurableListableBeanFactory beans,
            Supplier<PayloadReader> reader,
            Environment environment) {
        this.bus = bus;
        this.properties = properties;
        this.beans = beans;
        this.reader = reader;
        this.environment = environment;
    }

    /** The error that ended the worker. */
    Optional<DueBusException> failure() {
        return Optional.ofNullable(failure);
    }

    @Override
    public synchronized void start() {
        if (worker != null) {
            return;
        }
        var found = ListenerMethods.in(beans);
        if (found.isEmpty()) {
            return;
        }
        var builder = Worker.builder(bus)
                .group(properties.group())
                .maxInFlight(properties.maxInFlight())
                .lease(properties.lease())
                .maxExecution(properties.maxExecution())
                .drainTimeout(properties.drainTimeout());
        if (properties.concurrency() != null) {
            builder.concurrency(properties.concurrency());
        }
        found.forEach(each -> builder.handle(
                environment.resolveRequiredPlaceholders(each.listener().value()),
                options -> set(options, each.listener()),
                new ListenerHandler(each.bean(), each.type(), each.method(), reader)));
        failure = null;
        Worker started = builder.build();
        worker = started;
        ended = started.ended();
        ended.whenComplete((done, error) -> ended(error));
        started.start();
    }

    private void set(HandlerOptions options, DueBusListener listener) {
        options.ephemeral(listener.ephemeral());
        if (listener.ephemeral() || !listener.group().isEmpty()) {
            options.group(environment.resolveRequiredPlaceholders(listener.group()));
        }
        if (listener.maxInFlight() > 0) {
            options.maxInFlight(listener.maxInFlight());
        }
        if (listener.concurrency() > 0) {
            options.concurrency(listener.concurrency());
        }
    }

    private void ended(Throwable error) {
        if (error != null) {
            failure = DueBusException.of(error);
            LOG.error("the listeners of DueBus have ended", failure);
        }
        worker = null;
    }

    /** Completes when the listeners are subscribed. */
    CompletableFuture<Void> ready() {
        Worker running = worker;
        return running == null ? CompletableFuture.completedFuture(null) : running.ready();
    }

    /** Completes when they have ended, with the error if one ended them. */
    CompletableFuture<Void> ended() {
        return ended;
    }

    @Override
    public void stop(Runnable stopped) {
        Worker running = worker;
        if (running != null) {
            running.stop();
        }
        ended.whenComplete((done, error) -> stopped.run());
    }

    @Override
    public void stop() {
        stop(() -> {});
        ended.exceptionally(error -> null).join();
    }

    @Override
    public boolean isRunning() {
        return worker != null;
    }
}
