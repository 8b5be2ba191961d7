package io.duebus;

import io.duebus.v1.CancelEventsRequest;
import io.duebus.v1.CancelEventsResponse;
import io.duebus.v1.ConfigureTopicRequest;
import io.duebus.v1.ConfigureTopicResponse;
import io.duebus.v1.DeleteGroupRequest;
import io.duebus.v1.DeleteGroupResponse;
import io.duebus.v1.DeleteTopicRequest;
import io.duebus.v1.DeleteTopicResponse;
import io.duebus.v1.EventBusAdminGrpc;
import io.duebus.v1.EventInfo;
import io.duebus.v1.GetEventRequest;
import io.duebus.v1.GetEventResponse;
import io.duebus.v1.GetTopicRequest;
import io.duebus.v1.GetTopicResponse;
import io.duebus.v1.KeyInfo;
import io.duebus.v1.ListEventsRequest;
import io.duebus.v1.ListEventsResponse;
import io.duebus.v1.ListKeysRequest;
import io.duebus.v1.ListKeysResponse;
import io.duebus.v1.ListTopicsRequest;
import io.duebus.v1.ListTopicsResponse;
import io.duebus.v1.PauseGroupRequest;
import io.duebus.v1.PauseGroupResponse;
import io.duebus.v1.PurgeEventsRequest;
import io.duebus.v1.PurgeEventsResponse;
import io.duebus.v1.RedriveEventsRequest;
import io.duebus.v1.RedriveEventsResponse;
import io.duebus.v1.RescheduleEventsRequest;
import io.duebus.v1.RescheduleEventsResponse;
import io.duebus.v1.ResumeGroupRequest;
import io.duebus.v1.ResumeGroupResponse;
import io.duebus.v1.TopicInfo;
import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.function.Consumer;
import java.util.stream.Stream;

/**
 * The admin calls: they inspect and change topics, events and dead letters. {@code admin.proto} describes
 * the calls. A request is whole, or filled in by what sets the fields that matter:
 *
 * <pre>{@code
 * bus.admin().getTopic(request -> request.setTopic("order.created"));
 * bus.admin().topics(request -> {}).forEach(each -> System.out.println(each.getTopic()));
 * }</pre>
 *
 * <p>Each call is made once and throws {@link DueBusException}; a call about something unknown fails with NOT_FOUND.
 */
public final class Admin {
    private final Connection connection;
    private final Duration timeout;

    Admin(Connection connection, Duration timeout) {
        this.connection = connection;
        this.timeout = timeout;
    }

    /** The same calls with another timeout. */
    public Admin withTimeout(Duration timeout) {
        return new Admin(connection, Checks.positive("timeout", timeout));
    }

    public ListTopicsResponse listTopics(ListTopicsRequest request) {
        return call(EventBusAdminGrpc.getListTopicsMethod(), request);
    }

    public ListTopicsResponse listTopics(Consumer<ListTopicsRequest.Builder> set) {
        return listTopics(filled(ListTopicsRequest.newBuilder(), set).build());
    }

    public GetTopicResponse getTopic(GetTopicRequest request) {
        return call(EventBusAdminGrpc.getGetTopicMethod(), request);
    }

    public GetTopicResponse getTopic(Consumer<GetTopicRequest.Builder> set) {
        return getTopic(filled(GetTopicRequest.newBuilder(), set).build());
    }

    public ConfigureTopicResponse configureTopic(ConfigureTopicRequest request) {
        return call(EventBusAdminGrpc.getConfigureTopicMethod(), request);
    }

    public ConfigureTopicResponse configureTopic(Consumer<ConfigureTopicRequest.Builder> set) {
        return configureTopic(filled(ConfigureTopicRequest.newBuilder(), set).build());
    }

    public DeleteTopicResponse deleteTopic(DeleteTopicRequest request) {
        return call(EventBusAdminGrpc.getDeleteTopicMethod(), request);
    }

    public DeleteTopicResponse deleteTopic(Consumer<DeleteTopicRequest.Builder> set) {
        return deleteTopic(filled(DeleteTopicRequest.newBuilder(), set).build());
    }

    public DeleteGroupResponse deleteGroup(DeleteGroupRequest request) {
        return call(EventBusAdminGrpc.getDeleteGroupMethod(), request);
    }

    public DeleteGroupResponse deleteGroup(Consumer<DeleteGroupRequest.Builder> set) {
        return deleteGroup(filled(DeleteGroupRequest.newBuilder(), set).build());
    }

    public PauseGroupResponse pauseGroup(PauseGroupRequest request) {
        return call(EventBusAdminGrpc.getPauseGroupMethod(), request);
    }

    public PauseGroupResponse pauseGroup(Consumer<PauseGroupRequest.Builder> set) {
        return pauseGroup(filled(PauseGroupRequest.newBuilder(), set).build());
    }

    public ResumeGroupResponse resumeGroup(ResumeGroupRequest request) {
        return call(EventBusAdminGrpc.getResumeGroupMethod(), request);
    }

    public ResumeGroupResponse resumeGroup(Consumer<ResumeGroupRequest.Builder> set) {
        return resumeGroup(filled(ResumeGroupRequest.newBuilder(), set).build());
    }

    public ListEventsResponse listEvents(ListEventsRequest request) {
        return call(EventBusAdminGrpc.getListEventsMethod(), request);
    }

    public ListEventsResponse listEvents(Consumer<ListEventsRequest.Builder> set) {
        return listEvents(filled(ListEventsRequest.newBuilder(), set).build());
    }

    public GetEventResponse getEvent(GetEventRequest request) {
        return call(EventBusAdminGrpc.getGetEventMethod(), request);
    }

    public GetEventResponse getEvent(Consumer<GetEventRequest.Builder> set) {
        return getEvent(filled(GetEventRequest.newBuilder(), set).build());
    }

    public CancelEventsResponse cancelEvents(CancelEventsRequest request) {
        return call(EventBusAdminGrpc.getCancelEventsMethod(), request);
    }

    public CancelEventsResponse cancelEvents(Consumer<CancelEventsRequest.Builder> set) {
        return cancelEvents(filled(CancelEventsRequest.newBuilder(), set).build());
    }

    public RescheduleEventsResponse rescheduleEvents(RescheduleEventsRequest request) {
        return call(EventBusAdminGrpc.getRescheduleEventsMethod(), request);
    }

    public RescheduleEventsResponse rescheduleEvents(Consumer<RescheduleEventsRequest.Builder> set) {
        return rescheduleEvents(filled(RescheduleEventsRequest.newBuilder(), set).build());
    }

    public RedriveEventsResponse redriveEvents(RedriveEventsRequest request) {
        return call(EventBusAdminGrpc.getRedriveEventsMethod(), request);
    }

    public RedriveEventsResponse redriveEvents(Consumer<RedriveEventsRequest.Builder> set) {
        return redriveEvents(filled(RedriveEventsRequest.newBuilder(), set).build());
    }

    public PurgeEventsResponse purgeEvents(PurgeEventsRequest request) {
        return call(EventBusAdminGrpc.getPurgeEventsMethod(), request);
    }

    public PurgeEventsResponse purgeEvents(Consumer<PurgeEventsRequest.Builder> set) {
        return purgeEvents(filled(PurgeEventsRequest.newBuilder(), set).build());
    }

    public ListKeysResponse listKeys(ListKeysRequest request) {
        return call(EventBusAdminGrpc.getListKeysMethod(), request);
    }

    public ListKeysResponse listKeys(Consumer<ListKeysRequest.Builder> set) {
        return listKeys(filled(ListKeysRequest.newBuilder(), set).build());
    }

    /**
     * All topics by name. A page of {@code page_size} is fetched when the one before is read; the stream waits for it.
     */
    public Stream<TopicInfo> topics(Consumer<ListTopicsRequest.Builder> set) {
        return Pages.of(
                        token -> listTopics(filled(ListTopicsRequest.newBuilder(), set).setPageToken(token).build()),
                        ListTopicsResponse::getNextPageToken)
                .flatMap(page -> page.getTopicsList().stream());
    }

    /** All events of a group in one state; fetched as by {@link #topics}. */
    public Stream<EventInfo> events(Consumer<ListEventsRequest.Builder> set) {
        return Pages.of(
                        token -> listEvents(filled(ListEventsRequest.newBuilder(), set).setPageToken(token).build()),
                        ListEventsResponse::getNextPageToken)
                .flatMap(page -> page.getEventsList().stream());
    }

    /** All keys of a group that hold something; fetched as by {@link #topics}. */
    public Stream<KeyInfo> keys(Consumer<ListKeysRequest.Builder> set) {
        return Pages.of(
                        token -> listKeys(filled(ListKeysRequest.newBuilder(), set).setPageToken(token).build()),
                        ListKeysResponse::getNextPageToken)
                .flatMap(page -> page.getKeysList().stream());
    }

    private static <B> B filled(B builder, Consumer<B> set) {
        set.accept(builder);
        return builder;
    }

    private <Q, R> R call(MethodDescriptor<Q, R> method, Q request) {
        return Connection.await(connection.once(method, request, timeout));
    }
}
