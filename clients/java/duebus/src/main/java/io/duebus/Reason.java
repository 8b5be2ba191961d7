package io.duebus;

import java.util.Arrays;

/** Why a call failed, the same in every language. */
public enum Reason {
    /** A field is missing, malformed, unknown or out of its range; {@link DueBusException#fieldViolations} names it. */
    INVALID_ARGUMENT(null),
    /** The topic is empty. */
    NO_TOPIC_SPECIFIED(INVALID_ARGUMENT),
    /** The dispatch has no events. */
    NO_EVENT_SPECIFIED(INVALID_ARGUMENT),
    /** The server does not run the requested engine. */
    NO_DISPATCHER_SPECIFIED(null),
    /** {@link DispatchOptions#requireSubscriber}, and the topic has no live subscriber on any replica. */
    NO_HANDLER_FOUND(null),
    /** A topic with schedules can't be deleted, and a schedule can't move to another topic. */
    TOPIC_HAS_SCHEDULES(null),
    /** An engine is started twice in one process. */
    DUPLICATE_INITIALIZED(null),
    /** The topic is full and nothing was stored; {@link DueBusException#retryAfter} says when to repeat. */
    MAX_QUEUED_EVENTS_REACHED(null),
    /** An event was leased or changed meanwhile; nothing was changed. */
    CONCURRENT_MODIFICATION(null),
    /** No such topic, group or event; {@link DueBusException#metadata} names it. */
    NOT_FOUND(null),
    /** An unexpected error in the server; {@code metadata().get("log_id")} finds it in the server's log. */
    INTERNAL(null),
    /** The server, or its engine, can't do that yet. */
    UNIMPLEMENTED(null),
    /** The connection has as many streams open as the server allows on one: close one, or open another client. */
    MAX_STREAMS_REACHED(null),
    /** The server can't be reached. The call may or may not have taken effect. */
    UNAVAILABLE(null),
    /** The engine is stopped or draining, or its storage can't be reached. */
    DISPATCHER_NOT_WORKING(UNAVAILABLE),
    /** No answer in time. The call may or may not have taken effect. */
    DEADLINE_EXCEEDED(null),
    /** The caller was interrupted, or gave the call up. It may or may not have taken effect. */
    CANCELLED(null),
    /** Credentials are required, or these are not accepted. */
    UNAUTHENTICATED(null),
    /** These credentials do not allow that. */
    PERMISSION_DENIED(null),
    /** The client was closed, before the call or during it. */
    CLIENT_CLOSED(null),
    /** A reason that this client is too old to know; {@link DueBusException#reasonName} has its name. */
    OTHER(null);

    private final Reason wider;

    Reason(Reason wider) {
        this.wider = wider;
    }

    /** True for the reason itself and for the wider one that it belongs to. */
    boolean belongsTo(Reason other) {
        return this == other || wider == other;
    }

    static Reason named(String name) {
        return Arrays.stream(values()).filter(each -> each.name().equals(name)).findFirst().orElse(OTHER);
    }
}
