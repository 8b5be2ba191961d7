"""Merges what several partitions show into one topic."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, replace
from heapq import nsmallest
from typing import TYPE_CHECKING

from duebus_server.domain.errors import InvalidArgument
from duebus_server.domain.views import EventPage, KeyPage, Rates, TopicInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duebus_server.domain.model import SubscriberInfo
    from duebus_server.domain.views import EventQuery, GroupInfo, KeyInfo, KeyQuery
    from duebus_server.engine.redis.admin.views import Listed, Listing
    from duebus_server.engine.redis.codec.positions import Position


def sum_of(topic: str, infos: Sequence[TopicInfo]) -> TopicInfo:
    """A topic, from what each of its partitions shows."""
    if len(infos) == 1:
        return infos[0]
    by_name: dict[str, list[GroupInfo]] = defaultdict(list)
    for info in infos:
        for group in info.groups:
            by_name[group.group].append(group)
    has_lasting = any(name and not parts[0].ephemeral for name, parts in by_name.items())
    groups = [_group(by_name[name]) for name in sorted(by_name) if name or not has_lasting]
    return TopicInfo(topic, infos[0].config, sum(info.queued for info in infos), groups)


def _group(parts: Sequence[GroupInfo]) -> GroupInfo:
    first = parts[0]
    return replace(
        first,
        paused=any(part.paused for part in parts),
        counts={state: sum(part.counts.get(state, 0) for part in parts) for state in first.counts},
        subscribers=_subscribers(parts),
        oldest_ready_age_us=_oldest(part.oldest_ready_age_us for part in parts),
        oldest_blocked_age_us=_oldest(part.oldest_blocked_age_us for part in parts),
        oldest_lease_age_us=_oldest(part.oldest_lease_age_us for part in parts),
        latest=[text for part in parts for text in part.latest],
        rates=Rates(*(sum(getattr(part.rates, one.name) for part in parts) for one in fields(Rates))),
    )


def _oldest(ages: Iterable[int | None]) -> int | None:
    return max((age for age in ages if age is not None), default=None)


def _subscribers(parts: Sequence[GroupInfo]) -> list[SubscriberInfo]:
    """Each session once, with what it holds in all partitions together."""
    found: dict[str, SubscriberInfo] = {}
    for part in parts:
        for one in part.subscribers:
            known = found.get(one.session_id)
            connected_us = min(one.connected_us, known.connected_us) if known else one.connected_us
            in_flight = one.in_flight + (known.in_flight if known else 0)
            found[one.session_id] = replace(one, connected_us=connected_us, in_flight=in_flight)
    return list(found.values())


def merged(query: EventQuery, pages: Sequence[Listing]) -> EventPage:
    """One page, merged from a page of each partition. It ends where a partition may have more events in between."""

    def is_behind(one: Position, end: Position) -> bool:
        return one < end if query.newest_first else one > end

    ends = [page.end for page in pages if page.end is not None]
    together = sorted((one for page in pages for one in page.events), key=_at, reverse=query.newest_first)
    chosen: list[Listed] = []
    size = 0
    for one in together:
        size += len(one.event.body)
        is_full = len(chosen) == query.limit or (chosen and size > query.max_bytes)
        if is_full or any(is_behind(one.at, end) for end in ends):
            break
        chosen.append(one)
    last = chosen[-1].at if len(chosen) < len(together) else _first(ends, newest_first=query.newest_first)
    return EventPage([one.event for one in chosen], last and last.cursor())


def _at(listed: Listed) -> Position:
    return listed.at


def _first(ends: Sequence[Position], *, newest_first: bool) -> Position | None:
    if not ends:
        return None
    return max(ends) if newest_first else min(ends)


def page_of_keys(query: KeyQuery, keys: Iterable[KeyInfo]) -> KeyPage:
    """A page of all keys of a group. The cursor is the number of keys on the pages before.

    Raises:
        InvalidArgument: the cursor is not one of this engine.
    """
    if query.cursor is not None and not query.cursor.isdecimal():
        raise InvalidArgument("page_token", "is not a page token of this request")
    first = int(query.cursor or 0)
    behind = first + query.limit
    found = nsmallest(behind + 1, keys, key=lambda one: (-one.blocked, one.key))
    return KeyPage(found[first:behind], str(behind) if len(found) > behind else None)
