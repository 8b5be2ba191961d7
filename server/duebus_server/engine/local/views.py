"""Topics, groups and events of the local engine, as operators see them."""

from __future__ import annotations

from dataclasses import replace
from heapq import merge
from typing import TYPE_CHECKING

from duebus_server.domain.errors import InvalidArgument, NotFound
from duebus_server.domain.minutes import by_minute
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.states import EventState
from duebus_server.domain.views import (
    EXAMINED_AT_ONCE,
    MAX_HISTORY,
    Attempt,
    AttemptOutcome,
    EventGroupInfo,
    EventInfo,
    EventPage,
    EventQuery,
    GroupInfo,
    KeyInfo,
    KeyPage,
    Rates,
    TopicInfo,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duebus_server.domain.minutes import MinuteOfTopic
    from duebus_server.domain.views import KeyQuery
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.key_order import KeyOrder
    from duebus_server.engine.local.keys import Key
    from duebus_server.engine.local.records import Entry
    from duebus_server.engine.local.topic import Topic

NO_EVENTS = dict.fromkeys(EventState, 0)
NO_RATES = Rates()


def topic_info(topic: Topic, now_us: int) -> TopicInfo:
    """A topic with its groups. Unclaimed events are shown as a group without a name."""
    groups = [group_info(group, now_us) for group in topic.all_groups()]
    return TopicInfo(topic.name, topic.config, topic.queued, groups, durable=topic.recorder is not None)


def group_info(group: Group, now_us: int) -> GroupInfo:
    """Counts, subscribers, age and rates; O(subscribers)."""
    counts = group.indexes.counts() if group.entries else NO_EVENTS.copy()
    held = group.leases.held
    return GroupInfo(
        group.name,
        group.paused,
        counts,
        [replace(one, in_flight=len(held[name])) if name in held else one for name, one in group.sessions.items()],
        _age(_oldest(group, EventState.READY), now_us) if counts[EventState.READY] else None,
        Rates(
            group.dispatched.per_second(now_us),
            group.delivered.per_second(now_us),
            group.acked.per_second(now_us),
            group.nacked.per_second(now_us),
        ),
        group.retry_policy,
        group.ephemeral,
        _age(_oldest(group, EventState.BLOCKED), now_us) if counts[EventState.BLOCKED] else None,
        group.throttle.limits,
        group.order.policy,
        group.throttled_until(now_us),
        _age(group.leases.oldest_us(), now_us) if counts[EventState.LEASED] else None,
        group.minutes.latest(now_us),
    )


def minutes(topic: Topic, now_us: int) -> list[MinuteOfTopic]:
    """What a topic and its groups did in each of the last minutes."""
    groups = {group.name: group.minutes.recent(now_us) for group in topic.all_groups()}
    return by_minute(topic.minutes.recent(now_us), groups)


def is_idle(group: Group, info: GroupInfo) -> bool:
    """Whether a group that was just seen like this stays as it is until it is used."""
    return not group.entries and group.throttle.is_idle and info.rates == NO_RATES and not info.latest


def _age(since_us: int | None, now_us: int) -> int | None:
    return None if since_us is None else max(0, now_us - since_us)


def _oldest(group: Group, state: EventState) -> int | None:
    """The earliest time of the events in a state."""
    first = [index.first() for index in group.indexes.all_of(state)]
    return min((found[0] for found in first if found is not None), default=None)


def event_page(topic: Topic, query: EventQuery) -> EventPage:
    """A page of a group's events in one state; O(log n + page), or what is examined for a key."""
    group = find_group(topic, query.group)
    start = _parse_cursor(query.cursor)
    page: list[Entry] = []
    bytes_left, cursor = query.max_bytes, None
    for examined, (at_us, seq, entry) in enumerate(_ordered(group, query, start)):
        if query.key and examined == EXAMINED_AT_ONCE:
            return EventPage(_page_infos(group, page), cursor)
        if entry.state is query.state and query.key in ("", entry.key):
            bytes_left -= entry.event.body_size + len(entry.past.last_error.encode())
            if len(page) == query.limit or (page and bytes_left < 0):
                return EventPage(_page_infos(group, page), cursor)
            page.append(entry)
        cursor = f"{at_us}.{seq}"
    return EventPage(_page_infos(group, page), None)


def _ordered(group: Group, query: EventQuery, start: tuple[int, int] | None) -> Iterable[tuple[int, int, Entry]]:
    """The events to examine for a page, in its order. Of those with a key, only that key's unless they are DEAD, or
    their key may not know them.
    """
    if not query.key or query.state is EventState.DEAD or group.order.forgets_slots:
        return (_descending if query.newest_first else _ascending)(group, query.state, start)
    found: list[Iterable[tuple[int, int, Entry]]] = []
    if query.state in (EventState.SCHEDULED, EventState.BLOCKED):
        found.append(group.indexes.keys.waiting(query.key, start, newest_first=query.newest_first))
    key = group.indexes.keys.find(query.key)
    if key is not None:
        listed = sorted([(one.at_us, one.seq, one) for one in key.with_slots()], key=_place, reverse=query.newest_first)
        found.append([one for one in listed if start is None or _is_behind(one[:2], start, query)])
    return merge(*found, key=_place, reverse=query.newest_first)


def _is_behind(at: tuple[int, int], start: tuple[int, int], query: EventQuery) -> bool:
    return at < start if query.newest_first else at > start


def key_page(topic: Topic, query: KeyQuery, now_us: int) -> KeyPage:
    """A page of a group's keys. The cursor is the number of keys before it."""
    group = find_group(topic, query.group)
    keys = group.indexes.keys
    if query.cursor is not None and not query.cursor.isdecimal():
        raise InvalidArgument("page_token", "is not a page token of this request")
    start = min(int(query.cursor or 0), len(keys))
    found = keys.page(start, query.limit + 1, with_held=group.order.policy.holds)
    cursor = str(start + query.limit) if len(found) > query.limit else None
    return KeyPage([_key_info(group.order, key, now_us) for key in found[: query.limit]], cursor)


def _key_info(order: KeyOrder, key: Key, now_us: int) -> KeyInfo:
    in_flight = sum([entry.state is EventState.LEASED for entry in key.with_slots()])
    opens_us = order.closed_until(key, now_us)
    opens_at_us = opens_us if opens_us > now_us else None
    return KeyInfo(key.name, key.blocked, in_flight, order.waits_for(key), order.is_held(key), opens_at_us)


def _ascending(group: Group, state: EventState, after: tuple[int, int] | None) -> Iterable[tuple[int, int, Entry]]:
    return merge(*[index.ascending(after) for index in group.indexes.all_of(state)], key=_place)


def _descending(group: Group, state: EventState, before: tuple[int, int] | None) -> Iterable[tuple[int, int, Entry]]:
    return merge(*[index.descending(before) for index in group.indexes.all_of(state)], key=_place, reverse=True)


def _place(listed: tuple[int, int, Entry]) -> tuple[int, int]:
    return listed[:2]


def event_info(topic: Topic, event_id: str) -> EventInfo:
    """An event and its history in every group that is not done with it."""
    entries = [(group, group.entries[event_id]) for group in topic.all_groups() if event_id in group.entries]
    if not entries:
        raise NotFound("event", event_id, topic=topic.name)
    groups = [_entry_info(group, entry, history_of(entry)) for group, entry in entries]
    return _event_info(entries[0][1], groups)


def find_group(topic: Topic, name: str) -> Group:
    """The group that a call names; an empty name is the default group, or the unclaimed events.

    Raises:
        NotFound: there is none.
    """
    if not name and topic.unclaimed is not None:
        return topic.unclaimed
    group = topic.groups.get(name or DEFAULT_GROUP)
    if group is None:
        raise NotFound("group", name or DEFAULT_GROUP, topic=topic.name)
    return group


def _parse_cursor(cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    try:
        at_us, seq = cursor.split(".")
        return int(at_us), int(seq)
    except ValueError:
        raise InvalidArgument("page_token", "is not a page token of this request") from None


def _page_infos(group: Group, page: Sequence[Entry]) -> list[EventInfo]:
    return [_event_info(entry, [_entry_info(group, entry)]) for entry in page]


def _event_info(entry: Entry, groups: Sequence[EventGroupInfo]) -> EventInfo:
    event = entry.event
    return EventInfo(event.id, event.body, event.arrival.dispatched_us, event.arrival.origin, groups)


def _entry_info(group: Group, entry: Entry, history: Sequence[Attempt] = ()) -> EventGroupInfo:
    return EventGroupInfo(
        group=group.name,
        state=entry.state,
        attempts=entry.attempt,
        max_retries=group.max_retries(entry),
        deliver_at_us=entry.deliver_at_us,
        last_error=entry.past.last_error,
        lease_expires_us=entry.at_us if entry.state is EventState.LEASED else None,
        consumer=entry.lease.consumer if entry.lease else "",
        dead_us=entry.at_us if entry.state is EventState.DEAD else None,
        history=history,
        free_attempts=entry.past.free_attempts,
        waits_for=_waits_for(group, entry),
    )


def _waits_for(group: Group, entry: Entry) -> str:
    """The id of the event that a BLOCKED one waits for; empty for others."""
    key = group.indexes.keys.find(entry.key) if entry.is_blocked else None
    return "" if key is None else group.order.waits_for(key)


def history_of(entry: Entry) -> list[Attempt]:
    """The latest MAX_HISTORY attempts, including the one under way."""
    attempts = list(entry.past.history)
    lease = entry.lease
    if lease is not None:
        consumer, under_way = lease.consumer, AttemptOutcome.UNDER_WAY
        attempts.append(Attempt(entry.attempt, lease.started_us, None, consumer, under_way))
    return attempts[-MAX_HISTORY:]
