package io.duebus;

import io.duebus.v1.BackfillScheduleRequest;
import io.duebus.v1.DeleteScheduleRequest;
import io.duebus.v1.Engine;
import io.duebus.v1.EventBusSchedulesGrpc;
import io.duebus.v1.GetScheduleRequest;
import io.duebus.v1.ListSchedulesRequest;
import io.duebus.v1.ListSchedulesResponse;
import io.duebus.v1.PauseScheduleRequest;
import io.duebus.v1.PreviewScheduleRequest;
import io.duebus.v1.PutScheduleRequest;
import io.duebus.v1.ResumeScheduleRequest;
import io.duebus.v1.TriggerScheduleRequest;
import io.grpc.MethodDescriptor;
import java.security.SecureRandom;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Schedules: rules that dispatch an event again and again.
 *
 * <p>A call about an unknown schedule fails with NOT_FOUND. All but {@link #delete} are retried while the server is
 * unavailable. Every method that waits throws {@link DueBusException}; its twin whose name ends in Async returns at once.
 */
public final class Schedules {
    /** Of a generated request id, a part of the event's id, which has room for 26 digits beside the longest name. */
    private static final int REQUEST_ID_BYTES = 13;

    private static final SecureRandom RANDOM = new SecureRandom();

    private final Connection connection;
    private final Engine engine;
    private final Duration timeout;

    Schedules(Connection connection, Engine engine, Duration timeout) {
        this.connection = connection;
        this.engine = engine;
        this.timeout = timeout;
    }

    /** The same calls to another engine; the server's default engine otherwise. */
    public Schedules withEngine(Engine engine) {
        return new Schedules(connection, Objects.requireNonNull(engine, "engine"), timeout);
    }

    /** The same calls with another timeout, retries included. */
    public Schedules withTimeout(Duration timeout) {
        return new Schedules(connection, engine, Checks.positive("timeout", timeout));
    }

    /**
     * Creates a schedule, or replaces the one of its name. An equal one changes nothing, so every process may put it when
     * it starts.
     *
     * <p>Each firing dispatches an event with the id NAME@TIME, for example {@code report@2026-11-30T08:00:00Z}: the
     * nominal time in UTC. Its attributes also have {@code duebus-schedule} and {@code duebus-scheduled-for}, the name
     * and that time.
     *
     * @return the schedule as it is stored now
     * @throws DueBusException INVALID_ARGUMENT: the rule can't be read or never fires, or another field is wrong;
     *     TOPIC_HAS_SCHEDULES: it exists with another topic
     */
    public ScheduleInfo put(Schedule schedule) {
        return Connection.await(putAsync(schedule));
    }

    /** As {@link #put}, without waiting. */
    public CompletableFuture<ScheduleInfo> putAsync(Schedule schedule) {
        var request = PutScheduleRequest.newBuilder().setEngine(engine).setSchedule(schedule.encode());
        return repeat(
                EventBusSchedulesGrpc.getPutScheduleMethod(),
                request.build(),
                response -> ScheduleInfo.read(response.getSchedule()));
    }

    /** One schedule: when it fires next, and what it has done. */
    public ScheduleInfo get(String name) {
        return Connection.await(getAsync(name));
    }

    /** As {@link #get}, without waiting. */
    public CompletableFuture<ScheduleInfo> getAsync(String name) {
        return repeat(
                EventBusSchedulesGrpc.getGetScheduleMethod(),
                GetScheduleRequest.newBuilder().setEngine(engine).setName(checked(name)).build(),
                response -> ScheduleInfo.read(response.getSchedule()));
    }

    /** All schedules of the engine by name, fetched a hundred at a time. */
    public Stream<ScheduleInfo> list() {
        return list(0);
    }

    /**
     * All schedules of the engine by name. A page is fetched when the one before is read, and the stream waits for it.
     *
     * @param pageSize how many to fetch at a time, 1 to 1,000; 0: 100
     */
    public Stream<ScheduleInfo> list(int pageSize) {
        return Pages.of(token -> page(pageSize, token), ListSchedulesResponse::getNextPageToken)
                .flatMap(page -> page.getSchedulesList().stream())
                .map(ScheduleInfo::read);
    }

    private ListSchedulesResponse page(int pageSize, String token) {
        var request = ListSchedulesRequest.newBuilder()
                .setEngine(engine)
                .setPageSize(Checks.notNegative("page_size", pageSize))
                .setPageToken(token);
        return Connection.await(
                repeat(EventBusSchedulesGrpc.getListSchedulesMethod(), request.build(), Function.identity()));
    }

    /** Removes a schedule. Events that it has dispatched stay. It is not retried: a second try would find it gone. */
    public void delete(String name) {
        Connection.await(deleteAsync(name));
    }

    /** As {@link #delete}, without waiting. */
    public CompletableFuture<Void> deleteAsync(String name) {
        var request = DeleteScheduleRequest.newBuilder().setEngine(engine).setName(checked(name)).build();
        return connection.once(
                EventBusSchedulesGrpc.getDeleteScheduleMethod(), request, timeout, response -> null);
    }

    /** Stops a schedule from firing until it is resumed. Pausing one that is paused is not an error. */
    public void pause(String name) {
        Connection.await(pauseAsync(name));
    }

    /** As {@link #pause}, without waiting. */
    public CompletableFuture<Void> pauseAsync(String name) {
        var request = PauseScheduleRequest.newBuilder().setEngine(engine).setName(checked(name)).build();
        return repeat(EventBusSchedulesGrpc.getPauseScheduleMethod(), request, response -> null);
    }

    /** Ends a pause. What would have fired meanwhile does not fire. */
    public void resume(String name) {
        Connection.await(resumeAsync(name));
    }

    /** As {@link #resume}, without waiting. */
    public CompletableFuture<Void> resumeAsync(String name) {
        var request = ResumeScheduleRequest.newBuilder().setEngine(engine).setName(checked(name)).build();
        return repeat(EventBusSchedulesGrpc.getResumeScheduleMethod(), request, response -> null);
    }

    /** Dispatches the event of a schedule once, now, also while it is paused. Returns the event's id. */
    public String trigger(String name) {
        return Connection.await(triggerAsync(name));
    }

    /** As {@link #trigger(String)}; the call is safe to repeat with its request id. Empty: a new one. */
    public String trigger(String name, String requestId) {
        return Connection.await(triggerAsync(name, requestId));
    }

    /** As {@link #trigger(String)}, without waiting. */
    public CompletableFuture<String> triggerAsync(String name) {
        return triggerAsync(name, "");
    }

    /** As {@link #trigger(String, String)}, without waiting. */
    public CompletableFuture<String> triggerAsync(String name, String requestId) {
        var request = TriggerScheduleRequest.newBuilder()
                .setEngine(engine)
                .setName(checked(name))
                .setRequestId(requestId(requestId));
        return repeat(
                EventBusSchedulesGrpc.getTriggerScheduleMethod(), request.build(), response -> response.getEventId());
    }

    /**
     * Dispatches an event, now, for each nominal time from {@code start} to before {@code end}: all of them or none.
     *
     * @return the events' ids, in order of time
     * @throws DueBusException INVALID_ARGUMENT: there are more than 1,000 nominal times
     */
    public List<String> backfill(String name, Instant start, Instant end) {
        return Connection.await(backfillAsync(name, start, end));
    }

    /** As {@link #backfill(String, Instant, Instant)}, with a request id as in {@link #trigger(String, String)}. */
    public List<String> backfill(String name, Instant start, Instant end, String requestId) {
        return Connection.await(backfillAsync(name, start, end, requestId));
    }

    /** As {@link #backfill(String, Instant, Instant)}, without waiting. */
    public CompletableFuture<List<String>> backfillAsync(String name, Instant start, Instant end) {
        return backfillAsync(name, start, end, "");
    }

    /** As {@link #backfill(String, Instant, Instant, String)}, without waiting. */
    public CompletableFuture<List<String>> backfillAsync(String name, Instant start, Instant end, String requestId) {
        var request = BackfillScheduleRequest.newBuilder()
                .setEngine(engine)
                .setName(checked(name))
                .setStart(Times.proto(start))
                .setEnd(Times.proto(end))
                .setRequestId(requestId(requestId));
        return repeat(
                EventBusSchedulesGrpc.getBackfillScheduleMethod(),
                request.build(),
                response -> List.copyOf(response.getEventIdsList()));
    }

    /** The next ten times of a rule. Nothing is stored. */
    public SchedulePreview preview(ScheduleRule rule) {
        return preview(rule, 0, null);
    }

    /**
     * When a rule would fire. Nothing is stored.
     *
     * @param count how many times, 1 to 1,000; 0: 10
     * @param after the times after this moment; null: now
     */
    public SchedulePreview preview(ScheduleRule rule, int count, @Nullable Instant after) {
        return Connection.await(previewAsync(rule, count, after));
    }

    /** As {@link #preview(ScheduleRule, int, Instant)}, without waiting. */
    public CompletableFuture<SchedulePreview> previewAsync(ScheduleRule rule, int count, @Nullable Instant after) {
        var request = PreviewScheduleRequest.newBuilder()
                .setSchedule(rule.encode())
                .setCount(Checks.notNegative("count", count));
        if (after != null) {
            request.setAfter(Times.proto(after));
        }
        return repeat(
                EventBusSchedulesGrpc.getPreviewScheduleMethod(),
                request.build(),
                response -> new SchedulePreview(Times.read(response.getTimesList()), response.getDescription()));
    }

    private static String checked(String name) {
        return Checks.text("name", name);
    }

    /** A new one if it is empty: the server would make another for each try. */
    private static String requestId(String given) {
        if (!given.isEmpty()) {
            return Checks.text("request_id", given);
        }
        var bytes = new byte[REQUEST_ID_BYTES];
        RANDOM.nextBytes(bytes);
        return HexFormat.of().formatHex(bytes);
    }

    private <Q, R, T> CompletableFuture<T> repeat(MethodDescriptor<Q, R> method, Q request, Function<R, T> read) {
        return connection.repeat(method, request, timeout, (response, again) -> read.apply(response));
    }
}
