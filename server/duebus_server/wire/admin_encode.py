"""Encodes the answers of the admin service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus.v1 import admin_pb2, event_bus_pb2

from duebus_server.domain.minutes import Lateness, sum_of_lateness
from duebus_server.domain.states import EventState
from duebus_server.wire.names import ENGINE_TO_PB, ON_DEAD_TO_PB, OUTCOME_TO_PB, STATE_TO_PB
from duebus_server.wire.times import seconds_and_nanos

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.minutes import MinuteOfTopic, Tally
    from duebus_server.domain.model import EngineName, SubscriberInfo
    from duebus_server.domain.rates import KeyPolicy, Limits, Rate
    from duebus_server.domain.retry import RetryPolicy
    from duebus_server.domain.views import (
        Attempt,
        EventGroupInfo,
        EventInfo,
        GroupInfo,
        KeyInfo,
        TopicConfig,
        TopicInfo,
    )


def key_info(info: KeyInfo) -> admin_pb2.KeyInfo:
    """A key and what it holds."""
    return admin_pb2.KeyInfo(
        key=info.key,
        blocked=info.blocked,
        in_flight=info.in_flight,
        head_event_id=info.head_event_id,
        held=info.held,
        opens_at=None if info.opens_at_us is None else seconds_and_nanos(info.opens_at_us),
    )


MAX_GROUP_MINUTES = 6_000
"""The most minutes of groups in one answer: an hour of a hundred groups. gRPC clients refuse messages over 4 MiB."""


def topic_info(info: TopicInfo, engine: EngineName) -> admin_pb2.TopicInfo:
    """A topic with its groups, and the last minutes of it."""
    lateness = [group.lateness for group in info.groups]
    return admin_pb2.TopicInfo(
        topic=info.topic,
        engine=ENGINE_TO_PB[engine],
        config=topic_config(info.config),
        queued=info.queued,
        groups=[_group_info(group, late) for group, late in zip(info.groups, lateness, strict=True)],
        problem=info.problem,
        durable=info.durable,
        lateness=_lateness(sum_of_lateness(lateness)),
        minutes=_minutes(info.minutes),
    )


def _minutes(minutes: Sequence[MinuteOfTopic]) -> list[admin_pb2.TopicMinute]:
    """The last of these minutes, as many as an answer may have."""
    encoded: list[admin_pb2.TopicMinute] = []
    left = MAX_GROUP_MINUTES
    for minute in reversed(minutes):
        left -= len(minute.groups)
        if left < 0:
            break
        groups = [_group_minute(name, tally) for name, tally in minute.groups.items()]
        lateness = _lateness(sum_of_lateness(Lateness(tally.lateness) for tally in minute.groups.values()))
        start = seconds_and_nanos(minute.start_us)
        encoded.append(
            admin_pb2.TopicMinute(start=start, dispatched=minute.dispatched, groups=groups, lateness=lateness)
        )
    return encoded[::-1]


def _group_minute(group: str, tally: Tally) -> admin_pb2.GroupMinute:
    return admin_pb2.GroupMinute(
        group=group,
        delivered=tally.delivered,
        acked=tally.acked,
        nacked=tally.nacked,
        dead=tally.dead,
        lateness=_lateness(Lateness(tally.lateness)),
    )


def _lateness(lateness: Lateness) -> admin_pb2.Lateness | None:
    if not lateness:
        return None
    p50, p99 = (seconds_and_nanos(lateness.quantile_us(share)) for share in (0.5, 0.99))
    return admin_pb2.Lateness(p50=p50, p99=p99)


def topic_config(config: TopicConfig) -> admin_pb2.TopicConfig:
    """The settings in force."""
    return admin_pb2.TopicConfig(
        retry_policy=_retry_policy(config.retry_policy),
        lease=seconds_and_nanos(config.lease_us),
        max_queued=config.max_queued,
        dead_letter_retention=seconds_and_nanos(config.dead_letter_retention_us),
        dedupe_window=seconds_and_nanos(config.dedupe_window_us),
        partitions=config.partitions,
        limits=_limits(config.limits),
        keys=_key_policy(config.keys),
    )


def event_info(info: EventInfo, topic: str, *, with_data: bool) -> admin_pb2.EventInfo:
    """An event and its state in each group."""
    event = event_bus_pb2.Event(id=info.event_id)
    event.MergeFromString(info.body)
    if not with_data:
        event.ClearField("data")
    return admin_pb2.EventInfo(
        event=event,
        topic=topic,
        dispatched_at=seconds_and_nanos(info.dispatched_us),
        groups=[_event_group_info(group) for group in info.groups],
        dispatched_by=info.origin,
        data_withheld=not with_data,
    )


def _retry_policy(policy: RetryPolicy) -> admin_pb2.RetryPolicy:
    return admin_pb2.RetryPolicy(
        max_retries=policy.max_retries,
        backoff_initial=seconds_and_nanos(policy.backoff_initial_us),
        backoff_max=seconds_and_nanos(policy.backoff_max_us),
    )


def _limits(limits: Limits) -> admin_pb2.Limits | None:
    """Limits; None if there are none."""
    if not limits:
        return None
    return admin_pb2.Limits(max_in_flight=limits.max_in_flight, rate=_rate(limits.rate))


def _key_policy(policy: KeyPolicy) -> admin_pb2.KeyPolicy | None:
    """A key policy; None if it is the default."""
    if not policy:
        return None
    return admin_pb2.KeyPolicy(
        max_in_flight=policy.slots,
        rate=_rate(policy.rate),
        on_dead=ON_DEAD_TO_PB[policy.on_dead],
        max_blocked=policy.max_blocked,
    )


def _rate(rate: Rate | None) -> admin_pb2.Rate | None:
    if rate is None:
        return None
    return admin_pb2.Rate(events=rate.events, per=seconds_and_nanos(rate.per_us), burst=rate.burst)


def _group_info(info: GroupInfo, lateness: Lateness) -> admin_pb2.GroupInfo:
    age_us, blocked_us, until_us = info.oldest_ready_age_us, info.oldest_blocked_age_us, info.throttled_until_us
    return admin_pb2.GroupInfo(
        group=info.group,
        paused=info.paused,
        scheduled=info.counts[EventState.SCHEDULED],
        ready=info.counts[EventState.READY],
        leased=info.counts[EventState.LEASED],
        dead=info.counts[EventState.DEAD],
        blocked=info.counts[EventState.BLOCKED],
        subscribers=[_subscriber(subscriber) for subscriber in info.subscribers],
        oldest_ready_age=None if age_us is None else seconds_and_nanos(age_us),
        rates=admin_pb2.Rates(
            dispatched=info.rates.dispatched,
            delivered=info.rates.delivered,
            acked=info.rates.acked,
            nacked=info.rates.nacked,
        ),
        retry_policy=_retry_policy(info.retry_policy),
        ephemeral=info.ephemeral,
        oldest_blocked_age=None if blocked_us is None else seconds_and_nanos(blocked_us),
        limits=_limits(info.limits),
        keys=_key_policy(info.keys),
        throttled_until=None if until_us is None else seconds_and_nanos(until_us),
        lateness=_lateness(lateness),
    )


def _subscriber(info: SubscriberInfo) -> admin_pb2.Subscriber:
    return admin_pb2.Subscriber(
        session_id=info.session_id,
        consumer=info.consumer,
        in_flight=info.in_flight,
        connected_at=seconds_and_nanos(info.connected_us),
    )


def _event_group_info(info: EventGroupInfo) -> admin_pb2.EventGroupInfo:
    return admin_pb2.EventGroupInfo(
        group=info.group,
        state=STATE_TO_PB[info.state],
        attempts=info.attempts,
        max_retries=info.max_retries,
        deliver_at=seconds_and_nanos(info.deliver_at_us),
        last_error=info.last_error,
        lease_expires_at=None if info.lease_expires_us is None else seconds_and_nanos(info.lease_expires_us),
        consumer=info.consumer,
        dead_at=None if info.dead_us is None else seconds_and_nanos(info.dead_us),
        history=[_attempt(attempt) for attempt in info.history],
        free_attempts=info.free_attempts,
        waits_for=info.waits_for,
    )


def _attempt(attempt: Attempt) -> admin_pb2.Attempt:
    return admin_pb2.Attempt(
        attempt=attempt.attempt,
        started_at=seconds_and_nanos(attempt.started_us),
        ended_at=None if attempt.ended_us is None else seconds_and_nanos(attempt.ended_us),
        consumer=attempt.consumer,
        outcome=OUTCOME_TO_PB[attempt.outcome],
        error=attempt.error,
        redriven_at=None if attempt.redriven_us is None else seconds_and_nanos(attempt.redriven_us),
    )
