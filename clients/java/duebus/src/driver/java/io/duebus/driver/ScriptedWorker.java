package io.duebus.driver;

import com.google.gson.Gson;
import io.duebus.DeadLetter;
import io.duebus.Delivery;
import io.duebus.DueBus;
import io.duebus.DueBusException;
import io.duebus.Handler;
import io.duebus.RateLimited;
import io.duebus.Release;
import io.duebus.RetryAfter;
import io.duebus.Worker;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;

/** A worker of the client whose handler follows a script. */
final class ScriptedWorker {
    private record Order(Integer number, String item) {}

    private final DueBus bus;
    private final Command command;
    private final Output output;
    private final String name;
    private final List<Command> script;
    private final Map<String, BlockingQueue<Command>> holds = new ConcurrentHashMap<>();
    private final CompletableFuture<Void> stopped = new CompletableFuture<>();
    private volatile Worker worker;

    ScriptedWorker(DueBus bus, Command command, Output output) {
        this.bus = bus;
        this.command = command;
        this.output = output;
        this.name = command.text("worker");
        this.script = command.objects("script");
    }

    void start() {
        try {
            worker = build();
        } catch (DueBusException error) {
            ended(error);
            return;
        }
        worker.ready().thenRun(() -> output.event("ready", "worker", name));
        worker.start();
        worker.ended().whenComplete((done, error) -> ended(error));
    }

    private Worker build() {
        var builder = Worker.builder(bus)
                .group(command.text("group"))
                .ephemeral(command.flag("ephemeral"))
                .engine(command.engine("engine"))
                .handle(command.text("topic"), handler());
        if (command.has("consumer")) {
            builder.consumer(command.text("consumer"));
        }
        if (command.has("max_in_flight")) {
            builder.maxInFlight(command.number("max_in_flight").intValue());
        }
        if (command.has("concurrency")) {
            builder.concurrency(command.number("concurrency").intValue());
        }
        if (command.has("lease_ms")) {
            builder.lease(command.millis("lease_ms"));
        }
        if (command.has("max_execution_ms")) {
            builder.maxExecution(command.millis("max_execution_ms"));
        }
        if (command.has("drain_timeout_ms")) {
            builder.drainTimeout(command.millis("drain_timeout_ms"));
        }
        return builder.build();
    }

    private Handler handler() {
        return command.flag("typed")
                ? Handler.typed(ScriptedWorker::order, (order, delivery) -> handle(delivery, "payload", order))
                : delivery -> handle(delivery);
    }

    private static Order order(byte[] data) {
        return new Gson().fromJson(new String(data, StandardCharsets.UTF_8), Order.class);
    }

    private void ended(Throwable error) {
        output.event("stopped", "worker", name, "error", error == null ? null : Lines.error(DueBusException.of(error)));
        stopped.complete(null);
    }

    void stop() {
        if (worker != null) {
            worker.stop();
        }
    }

    void await() {
        stopped.join();
    }

    private void handle(Delivery delivery, Object... fields) throws Exception {
        Command outcome = outcome(delivery.attempt());
        BlockingQueue<Command> held = null;
        if (outcome.text("do").equals("hold")) {
            held = new LinkedBlockingQueue<>();
            holds.put(delivery.eventId(), held);
        }
        var line = new ArrayList<Object>(List.of(fields));
        line.addAll(List.of("at_ms", System.currentTimeMillis(), "delivery", Lines.delivery(delivery)));
        output.event("handling", "worker", name, line.toArray());
        end(held == null ? outcome : await(delivery, held));
    }

    /** The script's for this attempt; the last one applies to all later attempts. */
    private Command outcome(int attempt) {
        return script.get(Math.min(attempt, script.size()) - 1);
    }

    private Command await(Delivery delivery, BlockingQueue<Command> held) throws InterruptedException {
        try {
            return held.take();
        } catch (InterruptedException cancelled) {
            holds.remove(delivery.eventId(), held);
            output.event("cancelled", "worker", name,
                    "event_id", delivery.eventId(), "attempt", delivery.attempt());
            throw cancelled;
        }
    }

    void finish(String eventId, Command outcome) {
        BlockingQueue<Command> held = holds.remove(eventId);
        if (held == null) {
            throw new DriverError("nobody holds " + eventId);
        }
        held.add(outcome);
    }

    private static void end(Command outcome) throws Exception {
        String message = outcome.text("message");
        switch (outcome.text("do")) {
            case "ack" -> {}
            case "fail" -> throw new IllegalStateException(message);
            case "retry_after" -> throw new RetryAfter(outcome.millis("delay_ms"), message);
            case "rate_limited" -> throw new RateLimited(outcome.millis("delay_ms"), scope(outcome), message);
            case "dead_letter" -> throw new DeadLetter(message);
            case "release" -> throw new Release();
            case "exit" -> recurse(0);
            case "unprintable" -> throw new UnprintableException();
            default -> throw new AssertionError(message);
        }
    }

    private static RateLimited.Scope scope(Command outcome) {
        return outcome.text("scope").equals("group") ? RateLimited.Scope.GROUP : RateLimited.Scope.KEY;
    }

    private static int recurse(int depth) {
        return recurse(depth + 1) + 1;
    }

    private static final class UnprintableException extends Exception {
        private static final long serialVersionUID = 1;

        @Override
        public String toString() {
            throw new IllegalStateException("the error has no text");
        }
    }
}
