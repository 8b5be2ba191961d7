package io.duebus.driver;

import com.google.gson.JsonParser;
import io.duebus.DispatchOptions;
import io.duebus.Dispatched;
import io.duebus.DueBus;
import io.duebus.Event;
import io.duebus.v1.LeaseFailure;
import io.duebus.v1.Nack;
import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Carries out commands, each on its own thread. */
final class Driver {
    /** Carries out a command; its result is null if it has already answered. */
    private interface Action {
        Object carryOut(Command command) throws Throwable;
    }

    private static final Map<String, Object> EMPTY = Map.of();

    private final Output output;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final Map<String, DueBus> clients = new ConcurrentHashMap<>();
    private final Map<String, ScriptedWorker> workers = new ConcurrentHashMap<>();
    private final Map<String, RawSubscription> subscriptions = new ConcurrentHashMap<>();
    private final Map<String, Action> actions = new HashMap<>();

    Driver(Output output) {
        this.output = output;
        actions.put("close", this::closeClient);
        actions.put("dispatch", this::dispatch);
        actions.put("ack", this::ack);
        actions.put("nack", this::nack);
        actions.put("extend", this::extend);
        actions.put("stop", this::stop);
        actions.put("is_serving", each -> Map.of("serving", client(each).isServing(each.text("service"))));
        actions.put("admin", this::admin);
        actions.put("subscribe", this::subscribe);
        actions.put("unsubscribe", this::unsubscribe);
        actions.put("worker.finish", this::finish);
        actions.put("worker.stop", this::stopWorker);
        ScheduleCommands.ALL.forEach((name, action) ->
                actions.put("schedule." + name, each -> action.apply(client(each).schedules(), each)));
    }

    void receive(String line) {
        var command = new Command(JsonParser.parseString(line).getAsJsonObject());
        switch (command.text("command")) {
            // Those that name something new are carried out in order of arrival.
            case "hello" -> carryOut(command, each -> Map.of("language", "java", "protocol", 1));
            case "connect" -> carryOut(command, this::connect);
            case "worker.start" -> carryOut(command, this::startWorker);
            default -> threads.execute(() -> carryOut(command, action(command)));
        }
    }

    private Action action(Command command) {
        return actions.getOrDefault(command.text("command"), each -> {
            throw new DriverError("no command is called " + each.text("command"));
        });
    }

    private void carryOut(Command command, Action action) {
        try {
            Object result = action.carryOut(command);
            if (result != null) {
                output.answer(command.id(), result);
            }
        } catch (Throwable thrown) {
            output.error(command.id(), thrown);
        }
    }

    /** Closes everything that is open. */
    void close() {
        workers.values().forEach(ScriptedWorker::stop);
        workers.values().forEach(ScriptedWorker::await);
        subscriptions.values().forEach(RawSubscription::close);
        clients.values().forEach(DueBus::close);
        threads.shutdown();
    }

    private static <T> T named(Map<String, T> things, String name) {
        T thing = things.get(name);
        if (thing == null) {
            throw new DriverError("nothing is called " + name);
        }
        return thing;
    }

    private DueBus client(Command command) {
        return named(clients, command.text("client"));
    }

    private Object connect(Command command) throws IOException {
        var builder = DueBus.builder(command.text("target"));
        if (command.has("token")) {
            builder.token(command.text("token"));
        }
        if (command.has("timeout_ms")) {
            builder.timeout(command.millis("timeout_ms"));
        }
        if (command.has("tls")) {
            builder.credentials(tls(command.object("tls")));
        }
        clients.put(command.text("client"), builder.build());
        return EMPTY;
    }

    private static ChannelCredentials tls(Command files) throws IOException {
        var tls = TlsChannelCredentials.newBuilder().trustManager(file(files, "ca"));
        return (files.has("cert") ? tls.keyManager(file(files, "cert"), file(files, "key")) : tls).build();
    }

    private static InputStream file(Command files, String name) {
        return new ByteArrayInputStream(files.text(name).getBytes(StandardCharsets.UTF_8));
    }

    private Object closeClient(Command command) {
        client(command).close();
        return EMPTY;
    }

    private Object dispatch(Command command) {
        var options = DispatchOptions.none().engines(command.engines("engines")).requestId(command.text("request_id"));
        if (command.flag("require_subscriber")) {
            options = options.requireSubscriber();
        }
        if (command.has("timeout_ms")) {
            options = options.timeout(command.millis("timeout_ms"));
        }
        var events = command.objects("events").stream().map(Driver::event).toList();
        String topic = command.text("topic");
        List<Dispatched> dispatched = events.size() == 1
                ? List.of(client(command).dispatch(topic, events.get(0), options))
                : client(command).dispatchAll(topic, events, options);
        return Map.of(
                "event_ids", dispatched.stream().map(Dispatched::eventId).toList(),
                "duplicate_event_ids",
                        dispatched.stream().filter(Dispatched::duplicate).map(Dispatched::eventId).toList());
    }

    static Event event(Command line) {
        var event = Event.builder(line.bytes("data"))
                .id(line.text("id"))
                .contentType(line.text("content_type"))
                .attributes(line.map("attributes"))
                .key(line.text("key"));
        if (line.has("priority")) {
            event.priority(line.number("priority").intValue());
        }
        if (line.has("delay_ms")) {
            event.delay(line.millis("delay_ms"));
        }
        if (line.has("deliver_at_ms")) {
            event.deliverAt(line.moment("deliver_at_ms"));
        }
        if (line.has("max_retries")) {
            event.maxRetries(line.number("max_retries").intValue());
        }
        return event.build();
    }

    private Object ack(Command command) throws Throwable {
        return failures(command, client(command).ackAsync(command.texts("lease_tokens")));
    }

    private Object nack(Command command) throws Throwable {
        var nacks = command.objects("nacks").stream().map(Driver::nackLine).toList();
        return failures(command, client(command).nackAsync(nacks));
    }

    private Object extend(Command command) throws Throwable {
        return failures(
                command, client(command).extendAsync(command.texts("lease_tokens"), command.millis("lease_ms")));
    }

    private static Nack nackLine(Command line) {
        var nack = Nack.newBuilder().setLeaseToken(line.text("lease_token")).setError(line.text("error"));
        if (line.has("delay_ms")) {
            Duration delay = line.millis("delay_ms");
            nack.getDelayBuilder().setSeconds(delay.getSeconds()).setNanos(delay.getNano());
        } else if (line.flag("dead_letter")) {
            nack.setDeadLetter(true);
        } else if (line.flag("release")) {
            nack.setRelease(true);
        }
        if (line.has("pause")) {
            nack.setPause(pauseOf(line.object("pause")));
        }
        return nack.build();
    }

    private static Nack.Pause pauseOf(Command line) {
        Duration length = line.millis("duration_ms");
        String scope = "SCOPE_" + line.text("scope").toUpperCase(Locale.ROOT);
        var pause = Nack.Pause.newBuilder().setScope(Nack.Pause.Scope.valueOf(scope));
        pause.getDurationBuilder().setSeconds(length.getSeconds()).setNanos(length.getNano());
        return pause.build();
    }

    private static Object failures(Command command, CompletableFuture<List<LeaseFailure>> call) throws Throwable {
        return Lines.failures(await(command, call));
    }

    private static <T> T await(Command command, CompletableFuture<T> call) throws Throwable {
        try {
            Long timeoutMs = command.number("timeout_ms");
            return timeoutMs == null ? call.get() : call.get(timeoutMs, TimeUnit.MILLISECONDS);
        } catch (java.util.concurrent.ExecutionException error) {
            throw error.getCause();
        } catch (TimeoutException error) {
            call.cancel(true);
            throw error;
        }
    }

    private Object stop(Command command) throws Throwable {
        var stopped = client(command).stopAsync(command.millis("drain_timeout_ms"), command.engines("engines"));
        return Map.of("engines", await(command, stopped).getEnginesList().stream()
                .map(each -> Map.of(
                        "engine", Lines.name(each.getEngine()),
                        "released", each.getReleased(),
                        "queued", each.getQueued()))
                .toList());
    }

    private Object admin(Command command) throws Throwable {
        var call = named(AdminCommands.ALL, command.text("method"));
        return Map.of("response", call.make(client(command).admin(), command.bytes("request")));
    }

    private Object subscribe(Command command) {
        var subscription = new RawSubscription(client(command), command, output);
        subscriptions.put(command.text("subscription"), subscription);
        output.answer(command.id(), subscription.started()); // before the events that follow
        subscription.read();
        return null;
    }

    private Object unsubscribe(Command command) throws Throwable {
        var subscription = named(subscriptions, command.text("subscription"));
        subscription.close();
        subscription.awaitEnd();
        return EMPTY;
    }

    private Object startWorker(Command command) {
        var worker = new ScriptedWorker(client(command), command, output);
        workers.put(command.text("worker"), worker);
        output.answer(command.id(), EMPTY); // before the events that follow
        worker.start();
        return null;
    }

    private Object finish(Command command) {
        named(workers, command.text("worker")).finish(command.text("event_id"), command.object("outcome"));
        return EMPTY;
    }

    private Object stopWorker(Command command) {
        var worker = named(workers, command.text("worker"));
        worker.stop();
        worker.await();
        return EMPTY;
    }
}
