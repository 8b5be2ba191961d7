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
import io.duebus.v1.GetEventRequest;
import io.duebus.v1.GetEventResponse;
import io.duebus.v1.GetTopicRequest;
import io.duebus.v1.GetTopicResponse;
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
import io.grpc.MethodDescriptor;
import java.time.Duration;

/**
 * The admin calls: they inspect and change topics, events and dead letters. {@code admin.proto} describes
 * the calls.
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

    public GetTopicResponse getTopic(GetTopicRequest request) {
        return call(EventBusAdminGrpc.getGetTopicMethod(), request);
    }

    public ConfigureTopicResponse configureTopic(ConfigureTopicRequest request) {
        return call(EventBusAdminGrpc.getConfigureTopicMethod(), request);
    }

    public DeleteTopicResponse deleteTopic(DeleteTopicRequest request) {
        return call(EventBusAdminGrpc.getDeleteTopicMethod(), request);
    }

    public DeleteGroupResponse deleteGroup(DeleteGroupRequest request) {
        return call(EventBusAdminGrpc.getDeleteGroupMethod(), request);
    }

    public PauseGroupResponse pauseGroup(PauseGroupRequest request) {
        return call(EventBusAdminGrpc.getPauseGroupMethod(), request);
    }

    public ResumeGroupResponse resumeGroup(ResumeGroupRequest request) {
        return call(EventBusAdminGrpc.getResumeGroupMethod(), request);
    }

    public ListEventsResponse listEvents(ListEventsRequest request) {
        return call(EventBusAdminGrpc.getListEventsMethod(), request);
    }

    public GetEventResponse getEvent(GetEventRequest request) {
        return call(EventBusAdminGrpc.getGetEventMethod(), request);
    }

    public CancelEventsResponse cancelEvents(CancelEventsRequest request) {
        return call(EventBusAdminGrpc.getCancelEventsMethod(), request);
    }

    public RescheduleEventsResponse rescheduleEvents(RescheduleEventsRequest request) {
        return call(EventBusAdminGrpc.getRescheduleEventsMethod(), request);
    }

    public RedriveEventsResponse redriveEvents(RedriveEventsRequest request) {
        return call(EventBusAdminGrpc.getRedriveEventsMethod(), request);
    }

    public PurgeEventsResponse purgeEvents(PurgeEventsRequest request) {
        return call(EventBusAdminGrpc.getPurgeEventsMethod(), request);
    }

    public ListKeysResponse listKeys(ListKeysRequest request) {
        return call(EventBusAdminGrpc.getListKeysMethod(), request);
    }

    private <Q, R> R call(MethodDescriptor<Q, R> method, Q request) {
        return Connection.await(connection.once(method, request, timeout));
    }
}
