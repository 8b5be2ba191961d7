"""Converts the answers of the service EventBusAdmin."""

from duebus._core.admin_model import (
    Attempt,
    Cancelled,
    EventGroupInfo,
    EventInfo,
    GroupInfo,
    GroupMinute,
    KeyInfo,
    Lateness,
    Page,
    Rates,
    RetryPolicy,
    Subscriber,
    TopicConfig,
    TopicInfo,
    TopicMinute,
)
from duebus._core.enums import attempt_outcome_from_wire, engine_from_wire, event_state_from_wire
from duebus._core.limits import read_key_policy, read_limits
from duebus._core.messages import moment, span
from duebus.v1 import admin_pb2


def read_topics(response: admin_pb2.ListTopicsResponse) -> Page[TopicInfo]:
    """One page of topics."""
    return Page([read_topic(each) for each in response.topics], response.next_page_token)


def read_events(response: admin_pb2.ListEventsResponse) -> Page[EventInfo]:
    """One page of events."""
    return Page([read_event(each) for each in response.events], response.next_page_token)


def read_keys(response: admin_pb2.ListKeysResponse) -> Page[KeyInfo]:
    """One page of keys."""
    keys = [
        KeyInfo(
            key=each.key,
            blocked=each.blocked,
            in_flight=each.in_flight,
            head_event_id=each.head_event_id,
            held=each.held,
            opens_at=moment(each, "opens_at"),
        )
        for each in response.keys
    ]
    return Page(keys, response.next_page_token)


def read_topic(message: admin_pb2.TopicInfo) -> TopicInfo:
    """A topic with its groups."""
    return TopicInfo(
        topic=message.topic,
        engine=engine_from_wire(message.engine),
        config=read_config(message.config),
        queued=message.queued,
        groups=tuple(_read_group(each) for each in message.groups),
        problem=message.problem,
        durable=message.durable,
        lateness=_read_lateness(message),
        minutes=tuple(_read_minute(each) for each in message.minutes),
    )


def _read_minute(message: admin_pb2.TopicMinute) -> TopicMinute:
    return TopicMinute(
        start=moment(message, "start"),
        dispatched=message.dispatched,
        groups=tuple(
            GroupMinute(
                group=each.group,
                delivered=each.delivered,
                acked=each.acked,
                nacked=each.nacked,
                dead=each.dead,
                lateness=_read_lateness(each),
            )
            for each in message.groups
        ),
        lateness=_read_lateness(message),
    )


def _read_lateness(
    message: admin_pb2.TopicInfo | admin_pb2.GroupInfo | admin_pb2.TopicMinute | admin_pb2.GroupMinute,
) -> Lateness | None:
    if not message.HasField("lateness"):
        return None
    return Lateness(p50=message.lateness.p50.ToTimedelta(), p99=message.lateness.p99.ToTimedelta())


def read_config(message: admin_pb2.TopicConfig) -> TopicConfig:
    """A topic's settings."""
    return TopicConfig(
        retry_policy=_read_policy(message.retry_policy),
        lease=message.lease.ToTimedelta(),
        max_queued=message.max_queued,
        dead_letter_retention=message.dead_letter_retention.ToTimedelta(),
        dedupe_window=message.dedupe_window.ToTimedelta(),
        partitions=message.partitions,
        limits=read_limits(message),
        keys=read_key_policy(message),
    )


def _read_policy(message: admin_pb2.RetryPolicy) -> RetryPolicy:
    return RetryPolicy(
        max_retries=message.max_retries,
        backoff_initial=message.backoff_initial.ToTimedelta(),
        backoff_max=message.backoff_max.ToTimedelta(),
    )


def read_cancelled(message: admin_pb2.CancelEventsResponse) -> Cancelled:
    """The result of a cancellation."""
    return Cancelled(message.cancelled, tuple(message.leased_event_ids), tuple(message.missing_event_ids))


def _read_group(message: admin_pb2.GroupInfo) -> GroupInfo:
    return GroupInfo(
        group=message.group,
        paused=message.paused,
        scheduled=message.scheduled,
        ready=message.ready,
        leased=message.leased,
        dead=message.dead,
        subscribers=tuple(_read_subscriber(each) for each in message.subscribers),
        oldest_ready_age=span(message, "oldest_ready_age"),
        rates=Rates(
            dispatched=message.rates.dispatched,
            delivered=message.rates.delivered,
            acked=message.rates.acked,
            nacked=message.rates.nacked,
        ),
        retry_policy=_read_policy(message.retry_policy),
        ephemeral=message.ephemeral,
        blocked=message.blocked,
        oldest_blocked_age=span(message, "oldest_blocked_age"),
        limits=read_limits(message),
        keys=read_key_policy(message),
        throttled_until=moment(message, "throttled_until"),
        lateness=_read_lateness(message),
    )


def _read_subscriber(message: admin_pb2.Subscriber) -> Subscriber:
    return Subscriber(
        session_id=message.session_id,
        consumer=message.consumer,
        in_flight=message.in_flight,
        connected_at=moment(message, "connected_at"),
    )


def read_event(message: admin_pb2.EventInfo) -> EventInfo:
    """An event and its state in each group."""
    event = message.event
    return EventInfo(
        event_id=event.id,
        topic=message.topic,
        data=event.data,
        content_type=event.content_type,
        attributes=dict(event.attributes),
        max_retries=event.max_retries if event.HasField("max_retries") else None,
        dispatched_at=moment(message, "dispatched_at"),
        dispatched_by=message.dispatched_by,
        groups=tuple(_read_event_group(each) for each in message.groups),
        key=event.key,
        priority=event.priority,
        data_withheld=message.data_withheld,
    )


def _read_event_group(message: admin_pb2.EventGroupInfo) -> EventGroupInfo:
    return EventGroupInfo(
        group=message.group,
        state=event_state_from_wire(message.state),
        attempts=message.attempts,
        max_retries=message.max_retries,
        deliver_at=moment(message, "deliver_at"),
        last_error=message.last_error,
        lease_expires_at=moment(message, "lease_expires_at"),
        consumer=message.consumer,
        dead_at=moment(message, "dead_at"),
        history=tuple(_read_attempt(each) for each in message.history),
        free_attempts=message.free_attempts,
        waits_for=message.waits_for,
    )


def _read_attempt(message: admin_pb2.Attempt) -> Attempt:
    return Attempt(
        attempt=message.attempt,
        started_at=moment(message, "started_at"),
        ended_at=moment(message, "ended_at"),
        consumer=message.consumer,
        outcome=attempt_outcome_from_wire(message.outcome),
        error=message.error,
        redriven_at=moment(message, "redriven_at"),
    )
