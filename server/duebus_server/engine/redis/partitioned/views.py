"""Merges what several partitions show into one topic."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from duebus_server.domain.views import EventPage, Rates, TopicInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import SubscriberInfo
    from duebus_server.domain.views import EventQuery, GroupInfo
    from duebus_server.engine.redis.admin.views import Listed


def sum_of(topic: str, infos: Sequence[TopicInfo]) -> TopicInfo:
    """A topic, from what each of its partitions shows."""
    by_name: dict[str, list[GroupInfo]] = defaultdict(list)
    for info in infos:
        for group in info.groups:
            by_name[group.group].append(group)
    has_lasting = any(name and not parts[0].ephemeral for name, parts in by_name.items())
    groups = [_group(by_name[name]) for name in sorted(by_name) if name or not has_lasting]
    return TopicInfo(topic, infos[0].config, sum(info.queued for info in infos), groups)


def _group(parts: Sequence[GroupInfo]) -> GroupInfo:
    first = parts[0]
    ages = [part.oldest_ready_age_us for part in parts if part.oldest_ready_age_us is not None]
    return replace(
        first,
        paused=any(part.paused for part in parts),
        counts={state: sum(part.counts.get(state, 0) for part in parts) for state in first.counts},
        subscribers=_subscribers(parts),
        oldest_ready_age_us=max(ages, default=None),
        rates=Rates(*(sum(getattr(part.rates, one.name) for part in parts) for one in fields(Rates))),
    )


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


def merged(query: EventQuery, pages: Sequence[tuple[list[Listed], bool]]) -> EventPage:
    """One page, merged from a page of each partition. It ends where a partition may have more events in between."""

    def comes_before(one: Listed, other: Listed) -> bool:
        return (one[:2] > other[:2]) if query.newest_first else (one[:2] < other[:2])

    ends = [listed[-1] for listed, more in pages if more]
    together = sorted(
        (one for listed, _ in pages for one in listed), key=lambda one: one[:2], reverse=query.newest_first
    )
    chosen: list[Listed] = []
    size = 0
    for one in together:
        size += len(one.event.body)
        is_full = len(chosen) == query.limit or (chosen and size > query.max_bytes)
        if is_full or any(comes_before(end, one) for end in ends):
            break
        chosen.append(one)
    has_more = len(chosen) < len(together) or bool(ends)
    return EventPage([one.event for one in chosen], chosen[-1].cursor() if has_more else None)
