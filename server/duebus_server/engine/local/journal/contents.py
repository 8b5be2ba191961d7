"""Reads what a data directory holds while no server uses it. Changes nothing."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from duebus_server.domain.states import EventState
from duebus_server.domain.transfer import HeldCopy, HeldEvent, HeldGroup, HeldTopic
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local.journal.checking import existing_directory
from duebus_server.engine.local.journal.recovery import Recovery
from duebus_server.engine.local.topics import Topics
from duebus_server.engine.local.views import history_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duebus_server.domain.transfer import Held
    from duebus_server.domain.views import Attempt
    from duebus_server.engine.local.records import Entry, Segment, StoredEvent
    from duebus_server.engine.local.topic import Topic


@dataclass
class SegmentStats:
    """How much one segment holds.

    Attributes:
        number: the segment's number.
        size: its size in bytes.
        live: the bytes of events that some group still holds.
        events: the number of those events.
        oldest_us: when the oldest of them was dispatched, in microseconds since the Unix epoch; None if there is none.
    """

    number: int
    size: int
    live: int
    events: int = 0
    oldest_us: int | None = None


class _Contents(NamedTuple):
    """What was read.

    Attributes:
        ahead_us: how far the host's clock was ahead of the engine's, in microseconds.
    """

    topics: Topics
    segments: list[Segment]
    ahead_us: int


def stats(path: Path) -> list[SegmentStats]:
    """The segments of a data directory, oldest first.

    Raises:
        DuplicateInitialized: a process uses the directory.
        UnusableStorage: there is not a data directory, it is damaged, or its layout is newer.
    """
    with _read(path) as contents:
        found = {one.number: SegmentStats(one.number, one.size, one.live) for one in contents.segments}
        for topic in contents.topics:
            for event in _events(topic):
                arrival = event.arrival
                if arrival.segment is not None:
                    _count(found[arrival.segment.number], arrival.dispatched_us + contents.ahead_us)
        return list(found.values())


@contextmanager
def exported(path: Path) -> Iterator[Iterator[Held]]:
    """What a data directory holds: each topic, its groups, and its events in the order of their dispatch; then the
    schedules by name.

    Ephemeral groups are left out. No other process can use the directory during the block.

    Raises:
        DuplicateInitialized, UnusableStorage: as ``stats``.
    """
    with _read(path) as contents:
        topics = (held for topic in contents.topics for held in _topic(topic, contents.ahead_us))
        yield chain(topics, contents.topics.schedules)


@contextmanager
def _read(path: Path) -> Iterator[_Contents]:
    with existing_directory(path) as directory, directory.naming_errors():
        topics = Topics(TopicConfig())
        recovery = Recovery(topics)
        manifest = directory.read_manifest()
        segments = [
            recovery.apply_segment(directory, number, size, on_torn=lambda _: None) for number, size in manifest.items()
        ]
        yield _Contents(topics, segments, recovery.ahead_us)


def _count(segment: SegmentStats, dispatched_us: int) -> None:
    segment.events += 1
    segment.oldest_us = dispatched_us if segment.oldest_us is None else min(segment.oldest_us, dispatched_us)


def _events(topic: Topic) -> list[StoredEvent]:
    """The events of a topic in the order of their dispatch, each once."""
    found = {entry.seq: entry.event for group in topic.all_groups() for entry in group.entries.values()}
    return [found[seq] for seq in sorted(found)]


def _topic(topic: Topic, ahead_us: int) -> Iterator[Held]:
    """A topic, unless nothing is left of it."""
    lasting = [group for group in topic.all_groups() if not group.ephemeral]
    if not topic.changes and not any(group.name or group.entries for group in lasting):
        return
    yield HeldTopic(topic.name, topic.changes)
    for group in lasting:
        if group.name:
            yield HeldGroup(topic.name, group.name, group.paused, group.changes)
    for event in _events(topic):
        entries = [(group.name, group.entries[event.id]) for group in lasting if event.id in group.entries]
        if entries:
            yield HeldEvent(
                topic.name,
                event.id,
                event.body,
                event.arrival.dispatched_us + ahead_us,
                event.arrival.origin,
                event.arrival.max_retries,
                [_copy(name, entry, ahead_us) for name, entry in entries],
                event.key,
                event.arrival.priority,
            )


def _copy(group: str, entry: Entry, ahead_us: int) -> HeldCopy:
    """An event's state in a group, with times by the host's clock."""
    by_host = entry.by_host_clock
    return HeldCopy(
        group,
        entry.state,
        entry.deliver_at_us + (0 if by_host else ahead_us),
        entry.attempt,
        entry.past.free_attempts,
        entry.past.last_error,
        lease_expires_us=entry.at_us + ahead_us if entry.state is EventState.LEASED else None,
        consumer=entry.lease.consumer if entry.lease else "",
        dead_us=entry.at_us + ahead_us if entry.state is EventState.DEAD else None,
        history=[_attempt(one, ahead_us) for one in history_of(entry)],
        pinned=entry.key != "" and entry.pinned,
    )


def _attempt(attempt: Attempt, ahead_us: int) -> Attempt:
    return replace(
        attempt,
        started_us=attempt.started_us + ahead_us,
        ended_us=None if attempt.ended_us is None else attempt.ended_us + ahead_us,
        redriven_us=None if attempt.redriven_us is None else attempt.redriven_us + ahead_us,
    )
