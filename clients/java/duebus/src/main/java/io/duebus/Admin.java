package io.duebus;

import io.duebus.v1.CancelEventsRequest;
import io.duebus.v1.ConfigureTopicRequest;
import io.duebus.v1.DeleteGroupRequest;
import io.duebus.v1.DeleteGroupResponse;
import io.duebus.v1.DeleteTopicRequest;
import io.duebus.v1.DeleteTopicResponse;
import io.duebus.v1.Engine;
import io.duebus.v1.EventBusAdminGrpc;
import io.duebus.v1.GetEventRequest;
import io.duebus.v1.GetTopicRequest;
import io.duebus.v1.ListEventsRequest;
import io.duebus.v1.ListEventsResponse;
import io.duebus.v1.ListKeysRequest;
import io.duebus.v1.ListKeysResponse;
import io.duebus.v1.ListTopicsRequest;
import io.duebus.v1.ListTopicsResponse;
import io.duebus.v1.PauseGroupRequest;
import io.duebus.v1.PurgeEventsRequest;
import io.duebus.v1.PurgeEventsResponse;
import io.duebus.v1.RedriveEventsRequest;
import io.duebus.v1.RedriveEventsResponse;
import io.duebus.v1.RescheduleEventsRequest;
import io.duebus.v1.RescheduleEventsResponse;
import io.duebus.v1.ResumeGroupRequest;
import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.time.Instant;
import java.util.Collection;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The admin calls: they show which events are stuck and why, and get them moving again.
 *
 * <pre>{@code
 * bus.admin().configureTopic("orders", changes -> changes.maxRetries(5).lease(Duration.ofMinutes(1)));
 * bus.admin().redriveEvents("orders", filter -> filter.group("billing").errorContains("timeout"));
 * }</pre>
 *
 * <p>A call about an unknown topic, group or event fails with NOT_FOUND. Calls that read, and those that configure, pause
 * and resume, are retried while the server is unavailable. The others are not, because a second answer would not count what
 * the first call did. Every method that waits throws {@link DueBusException}; its twin whose name ends in Async returns at
 * once.
 */
public final class Admin {
    private final Connection connection;
    private final Engine engine;
    /** Null: the client's, and none for calls that take as long as their work takes. */
    private final Duration timeout;

    Admin(Connection connection, Engine engine, Duration timeout) {
        this.connection = connection;
        this.engine = engine;
        this.timeout = timeout;
    }

    /** The same calls to another engine; the server's default engine otherwise. */
    public Admin withEngine(Engine engine) {
        return new Admin(connection, Objects.requireNonNull(engine, "engine"), timeout);
    }

    /** The same calls with another timeout, retries included. That of a list is for each page. */
    public Admin withTimeout(Duration timeout) {
        return new Admin(connection, engine, Checks.positive("timeout", timeout));
    }

    /** All topics by name, fetched a hundred at a time. */
    public Stream<TopicInfo> topics() {
        return topics(0);
    }

    /**
     * All topics by name. A page is fetched when the one before is read, and the stream waits for it.
     *
     * @param pageSize how many to fetch at a time, 1 to 1,000; 0: 100
     */
    public Stream<TopicInfo> topics(int pageSize) {
        var request = ListTopicsRequest.newBuilder()
                .setEngine(engine)
                .setPageSize(Checks.notNegative("page_size", pageSize));
        return Pages.of(
                        token -> page(EventBusAdminGrpc.getListTopicsMethod(), request.setPageToken(token).build()),
                        ListTopicsResponse::getNextPageToken)
                .flatMap(page -> page.getTopicsList().stream())
                .map(TopicInfo::read);
    }

    /** One topic: its settings, its groups, and the last hour by the minute. */
    public TopicInfo getTopic(String topic) {
        return Connection.await(getTopicAsync(topic));
    }

    /** As {@link #getTopic}, without waiting. */
    public CompletableFuture<TopicInfo> getTopicAsync(String topic) {
        var request = GetTopicRequest.newBuilder().setEngine(engine).setTopic(checked(topic)).build();
        return repeat(
                EventBusAdminGrpc.getGetTopicMethod(), request, response -> TopicInfo.read(response.getTopic()));
    }

    /**
     * Changes settings of a topic, which it creates if it does not exist.
     *
     * @return all settings that are now in force
     * @throws DueBusException INVALID_ARGUMENT: a setting is out of range; nothing was changed
     */
    public TopicConfig configureTopic(String topic, Consumer<TopicChanges> set) {
        return Connection.await(configureTopicAsync(topic, set));
    }

    /** As {@link #configureTopic}, without waiting. */
    public CompletableFuture<TopicConfig> configureTopicAsync(String topic, Consumer<TopicChanges> set) {
        return configureAsync(topic, "", set);
    }

    /** Changes the retry policy, the limits or the key policy of one group; what is not set there follows the topic. */
    public TopicConfig configureGroup(String topic, String group, Consumer<TopicChanges> set) {
        return Connection.await(configureGroupAsync(topic, group, set));
    }

    /** As {@link #configureGroup}, without waiting. */
    public CompletableFuture<TopicConfig> configureGroupAsync(
            String topic, String group, Consumer<TopicChanges> set) {
        return configureAsync(topic, Checks.textOrNone("group", group, "the topic itself"), set);
    }

    /** Of the topic, if the group is empty. */
    private CompletableFuture<TopicConfig> configureAsync(String topic, String group, Consumer<TopicChanges> set) {
        var changes = new TopicChanges();
        set.accept(changes);
        var request = ConfigureTopicRequest.newBuilder()
                .setEngine(engine)
                .setTopic(checked(topic))
                .setGroup(group(group))
                .setConfig(changes.encode());
        return repeat(
                EventBusAdminGrpc.getConfigureTopicMethod(),
                request.build(),
                response -> TopicConfig.read(response.getConfig()));
    }

    /** Removes a topic with its groups and events, however long it takes. Returns how many events that were. */
    public long deleteTopic(String topic) {
        return Connection.await(deleteTopicAsync(topic));
    }

    /** As {@link #deleteTopic}, without waiting. */
    public CompletableFuture<Long> deleteTopicAsync(String topic) {
        var request = DeleteTopicRequest.newBuilder().setEngine(engine).setTopic(checked(topic)).build();
        return work(EventBusAdminGrpc.getDeleteTopicMethod(), request, DeleteTopicResponse::getRemoved);
    }

    /** Removes a group with its copies of events, however long it takes. Returns how many that were. */
    public long deleteGroup(String topic, String group) {
        return Connection.await(deleteGroupAsync(topic, group));
    }

    /** As {@link #deleteGroup}, without waiting. */
    public CompletableFuture<Long> deleteGroupAsync(String topic, String group) {
        var request =
                DeleteGroupRequest.newBuilder().setEngine(engine).setTopic(checked(topic)).setGroup(group(group));
        return work(EventBusAdminGrpc.getDeleteGroupMethod(), request.build(), DeleteGroupResponse::getRemoved);
    }

    /** Delivers nothing to a group until it is resumed. Pausing one that is paused is not an error. */
    public void pauseGroup(String topic, String group) {
        Connection.await(pauseGroupAsync(topic, group));
    }

    /** As {@link #pauseGroup}, without waiting. */
    public CompletableFuture<Void> pauseGroupAsync(String topic, String group) {
        var request =
                PauseGroupRequest.newBuilder().setEngine(engine).setTopic(checked(topic)).setGroup(group(group));
        return repeat(EventBusAdminGrpc.getPauseGroupMethod(), request.build(), response -> null);
    }

    /** Ends a pause; what became due meanwhile is delivered. */
    public void resumeGroup(String topic, String group) {
        Connection.await(resumeGroupAsync(topic, group));
    }

    /** As {@link #resumeGroup}, without waiting. */
    public CompletableFuture<Void> resumeGroupAsync(String topic, String group) {
        var request =
                ResumeGroupRequest.newBuilder().setEngine(engine).setTopic(checked(topic)).setGroup(group(group));
        return repeat(EventBusAdminGrpc.getResumeGroupMethod(), request.build(), response -> null);
    }

    /** All events of the group "default" in one state, the oldest first; fetched as by {@link #topics(int)}. */
    public Stream<EventInfo> events(String topic, EventState state) {
        return events(topic, state, options -> {});
    }

    /** All events of a group in one state; fetched as by {@link #topics(int)}. */
    public Stream<EventInfo> events(String topic, EventState state, Consumer<ListOptions> set) {
        var request =
                ListEventsRequest.newBuilder().setEngine(engine).setTopic(checked(topic)).setState(state.wire());
        set.accept(new ListOptions(request));
        return Pages.of(
                        token -> page(EventBusAdminGrpc.getListEventsMethod(), request.setPageToken(token).build()),
                        ListEventsResponse::getNextPageToken)
                .flatMap(page -> page.getEventsList().stream())
                .map(EventInfo::read);
    }

    /** One event: its state and its history in each group that still holds it. */
    public EventInfo getEvent(String topic, String eventId) {
        return Connection.await(getEventAsync(topic, eventId));
    }

    /** As {@link #getEvent}, without waiting. */
    public CompletableFuture<EventInfo> getEventAsync(String topic, String eventId) {
        var request = GetEventRequest.newBuilder()
                .setEngine(engine)
                .setTopic(checked(topic))
                .setEventId(Checks.text("event_id", eventId));
        return repeat(
                EventBusAdminGrpc.getGetEventMethod(),
                request.build(),
                response -> EventInfo.read(response.getEvent()));
    }

    /** As {@link #keys(String, String, int)}, a hundred at a time. */
    public Stream<KeyInfo> keys(String topic, String group) {
        return keys(topic, group, 0);
    }

    /**
     * All keys of a group that hold something, those with the most blocked events first; fetched as by {@link #topics(int)}.
     * A key that moves meanwhile may come twice, or not at all.
     */
    public Stream<KeyInfo> keys(String topic, String group, int pageSize) {
        var request = ListKeysRequest.newBuilder()
                .setEngine(engine)
                .setTopic(checked(topic))
                .setGroup(group(group))
                .setPageSize(Checks.notNegative("page_size", pageSize));
        return Pages.of(
                        token -> page(EventBusAdminGrpc.getListKeysMethod(), request.setPageToken(token).build()),
                        ListKeysResponse::getNextPageToken)
                .flatMap(page -> page.getKeysList().stream())
                .map(KeyInfo::read);
    }

    /** Removes scheduled, ready or blocked events, 1 to 1,000, from every group that holds them. */
    public Cancelled cancelEvents(String topic, Collection<String> eventIds) {
        return cancelEvents(topic, eventIds, null);
    }

    /** As the other, from one group; null: from every group. Copies that are leased or dead are left alone. */
    public Cancelled cancelEvents(String topic, Collection<String> eventIds, @Nullable String group) {
        return Connection.await(cancelEventsAsync(topic, eventIds, group));
    }

    /** As {@link #cancelEvents(String, Collection, String)}, without waiting. */
    public CompletableFuture<Cancelled> cancelEventsAsync(
            String topic, Collection<String> eventIds, @Nullable String group) {
        eventIds.forEach(each -> Checks.text("event_ids", each));
        return cancel(topic, CancelEventsRequest.newBuilder().addAllEventIds(eventIds), group);
    }

    /**
     * Removes all scheduled, ready or blocked events with a key, in several steps: a call that is interrupted has removed
     * some of them, and can be repeated.
     *
     * @param group null: from every group
     */
    public Cancelled cancelKey(String topic, String key, @Nullable String group) {
        return Connection.await(cancelKeyAsync(topic, key, group));
    }

    /** As {@link #cancelKey}, without waiting. */
    public CompletableFuture<Cancelled> cancelKeyAsync(String topic, String key, @Nullable String group) {
        return cancel(topic, CancelEventsRequest.newBuilder().setKey(Checks.text("key", key)), group);
    }

    private CompletableFuture<Cancelled> cancel(
            String topic, CancelEventsRequest.Builder request, @Nullable String group) {
        request.setEngine(engine).setTopic(checked(topic)).setGroup(groupOrAll(group));
        return once(EventBusAdminGrpc.getCancelEventsMethod(), request.build(), Cancelled::read);
    }

    /** As {@link #rescheduleEvents(String, Collection, Duration, String)}, in every group that holds them. */
    public long rescheduleEvents(String topic, Collection<String> eventIds, Duration delay) {
        return rescheduleEvents(topic, eventIds, delay, null);
    }

    /**
     * Changes the due time of scheduled, ready or blocked events: of all or none. The attempts keep counting.
     *
     * @param eventIds 1 to 1,000
     * @param delay from now, 0 to 10 years
     * @param group null: in every group that holds them
     * @return how many
     * @throws DueBusException CONCURRENT_MODIFICATION: one is leased or dead
     */
    public long rescheduleEvents(
            String topic, Collection<String> eventIds, Duration delay, @Nullable String group) {
        return Connection.await(rescheduleEventsAsync(topic, eventIds, delay, group));
    }

    /** As {@link #rescheduleEvents(String, Collection, Duration, String)}, without waiting. */
    public CompletableFuture<Long> rescheduleEventsAsync(
            String topic, Collection<String> eventIds, Duration delay, @Nullable String group) {
        return reschedule(topic, eventIds, RescheduleEventsRequest.newBuilder().setDelay(Times.proto(delay)), group);
    }

    /** As {@link #rescheduleEvents(String, Collection, Instant, String)}, in every group that holds them. */
    public long rescheduleEvents(String topic, Collection<String> eventIds, Instant deliverAt) {
        return rescheduleEvents(topic, eventIds, deliverAt, null);
    }

    /** As the other; the events are due at that moment, at most 10 years ahead. */
    public long rescheduleEvents(
            String topic, Collection<String> eventIds, Instant deliverAt, @Nullable String group) {
        return Connection.await(rescheduleEventsAsync(topic, eventIds, deliverAt, group));
    }

    /** As {@link #rescheduleEvents(String, Collection, Instant, String)}, without waiting. */
    public CompletableFuture<Long> rescheduleEventsAsync(
            String topic, Collection<String> eventIds, Instant deliverAt, @Nullable String group) {
        var request = RescheduleEventsRequest.newBuilder().setDeliverAt(Times.proto(deliverAt));
        return reschedule(topic, eventIds, request, group);
    }

    private CompletableFuture<Long> reschedule(
            String topic,
            Collection<String> eventIds,
            RescheduleEventsRequest.Builder request,
            @Nullable String group) {
        eventIds.forEach(each -> request.addEventIds(Checks.text("event_ids", each)));
        request.setEngine(engine).setTopic(checked(topic)).setGroup(groupOrAll(group));
        return once(
                EventBusAdminGrpc.getRescheduleEventsMethod(),
                request.build(),
                RescheduleEventsResponse::getRescheduled);
    }

    /** Makes dead letters ready again, all at once, with all their retries. Returns how many. */
    public long redriveEvents(String topic, Consumer<DeadLetterFilter> set) {
        return redriveEvents(topic, set, 0);
    }

    /**
     * Makes dead letters ready again, with all their retries, however long it takes.
     *
     * @param rate how many become due per second, 0.001 to 1,000,000; 0: all at once
     * @return how many
     */
    public long redriveEvents(String topic, Consumer<DeadLetterFilter> set, double rate) {
        return Connection.await(redriveEventsAsync(topic, set, rate));
    }

    /** As {@link #redriveEvents(String, Consumer, double)}, without waiting. */
    public CompletableFuture<Long> redriveEventsAsync(String topic, Consumer<DeadLetterFilter> set, double rate) {
        var filter = new DeadLetterFilter();
        set.accept(filter);
        var request = RedriveEventsRequest.newBuilder()
                .setEngine(engine)
                .setTopic(checked(topic))
                .setGroup(filter.group())
                .setFilter(filter.encode())
                .setRate(rate);
        return work(EventBusAdminGrpc.getRedriveEventsMethod(), request.build(), RedriveEventsResponse::getRedriven);
    }

    /** Removes dead letters for good, however long it takes. Returns how many. */
    public long purgeEvents(String topic, Consumer<DeadLetterFilter> set) {
        return Connection.await(purgeEventsAsync(topic, set));
    }

    /** As {@link #purgeEvents}, without waiting. */
    public CompletableFuture<Long> purgeEventsAsync(String topic, Consumer<DeadLetterFilter> set) {
        var filter = new DeadLetterFilter();
        set.accept(filter);
        var request = PurgeEventsRequest.newBuilder()
                .setEngine(engine)
                .setTopic(checked(topic))
                .setGroup(filter.group())
                .setFilter(filter.encode());
        return work(EventBusAdminGrpc.getPurgeEventsMethod(), request.build(), PurgeEventsResponse::getPurged);
    }

    private static String checked(String topic) {
        return Checks.text("topic", topic);
    }

    private static String group(String group) {
        return Checks.text("group", group);
    }

    private static String groupOrAll(@Nullable String group) {
        return group == null ? "" : Checks.textOrNone("group", group, "every group");
    }

    private <Q, R> R page(MethodDescriptor<Q, R> method, Q request) {
        return Connection.await(repeat(method, request, Function.identity()));
    }

    private <Q, R, T> CompletableFuture<T> repeat(MethodDescriptor<Q, R> method, Q request, Function<R, T> read) {
        return connection.repeat(method, request, timeout, (response, again) -> read.apply(response));
    }

    private <Q, R, T> CompletableFuture<T> once(MethodDescriptor<Q, R> method, Q request, Function<R, T> read) {
        return connection.once(method, request, timeout == null ? connection.timeout() : timeout, read);
    }

    /** Takes as long as the work takes, unless there is a timeout. */
    private <Q, R, T> CompletableFuture<T> work(MethodDescriptor<Q, R> method, Q request, Function<R, T> read) {
        return timeout == null
                ? connection.unlimited(method, request, read)
                : connection.once(method, request, timeout, read);
    }
}
