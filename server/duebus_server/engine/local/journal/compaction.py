"""Removes the oldest segment, after what a restart needs of it was copied to the end of the journal."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.errors import DispatcherNotWorking, UnusableStorage
from duebus_server.engine.local.journal import records
from duebus_server.engine.local.journal.commit import Space
from duebus_server.engine.local.journal.reading import BadPart, parse_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.journal.bodies import Bodies
    from duebus_server.engine.local.journal.commit import GroupCommit
    from duebus_server.engine.local.journal.directory import DataDirectory
    from duebus_server.engine.local.journal.records import AnyRecord, Record
    from duebus_server.engine.local.journal.segments import Segments
    from duebus_server.engine.local.records import Entry, Segment
    from duebus_server.engine.local.topic import Topic
    from duebus_server.engine.local.topics import Topics

log = structlog.get_logger()

COPY_EVENTS = 200
COPY_BYTES = 256 << 10
"""How much one record copies at most, so that a step of the event loop stays short."""

UNSYNCED_BYTES = 4 << 20
"""How much may be copied before it must be on the disk."""

FULL_DISK_BYTES = 4 << 20
"""How much is copied at most while the disk is full. The rest of the reserve is for acks."""


class Compaction:
    """Removes the oldest segment when nothing in it is needed, or when all segments take up too much space.

    Args:
        topics: the topics of the engine.
        segments: all of them.
        directory: where they are.
        append: appends a record. Returns its segment, and its size.
        commit: writes what is appended.
        bodies: those that are not in memory.
        now_us: the engine's clock.
    """

    def __init__(
        self,
        topics: Topics,
        segments: Segments,
        directory: DataDirectory,
        append: Callable[[Record], tuple[Segment, int]],
        commit: GroupCommit,
        bodies: Bodies,
        now_us: Callable[[], int],
    ) -> None:
        self._topics = topics
        self._segments = segments
        self._directory = directory
        self._append = append
        self._commit = commit
        self._bodies = bodies
        self._now_us = now_us
        self._task: asyncio.Task[None] | None = None
        # The oldest segment can't be read, so it can't be removed.
        self._is_blocked = False

    def start_if_needed(self) -> None:
        """Begin to remove segments, if one must be removed and none is being removed."""
        is_idle = self._task is None or self._task.done()
        if is_idle and not self._is_blocked and self._segments.must_shrink():
            self._task = asyncio.create_task(self._shrink(), name="journal compaction")

    async def stop(self) -> None:
        """Stop. A segment that was copied only in part is copied again after a restart."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _shrink(self) -> None:
        with suppress(DispatcherNotWorking):  # the next ``start_if_needed`` tries again
            while self._segments.must_shrink() and not self._is_blocked:
                if self._commit.space is not Space.AMPLE and self._segments.oldest.live > FULL_DISK_BYTES:
                    return
                await self._remove(self._segments.oldest)

    async def _remove(self, segment: Segment) -> None:
        """Copy what is needed of a segment, and remove the segment once the copies are on the disk.

        Raises:
            DispatcherNotWorking: the journal can't be written, or not now.
        """
        await self._commit.wait_synced(self._commit.position)  # its own last records too
        path = self._directory.segment(segment.number)
        try:
            data = await asyncio.to_thread(path.read_bytes)
            await self._copy_all(parse_segment(path, segment.number, segment.size, data))
        except (OSError, UnusableStorage) as error:
            self._is_blocked = True
            problem = str(error)
        if self._is_blocked:
            log.error("the oldest segment of the journal can't be read, and is kept", error=problem)
            return
        await self._commit.wait_synced(self._commit.position)
        await self._bodies.remove(segment)
        self._segments.remove_oldest()

    async def _copy_all(self, found: Iterable[AnyRecord | BadPart]) -> None:
        """Copy what is needed of these records, in steps.

        Raises:
            UnusableStorage: some of them can't be read.
        """
        seen: set[tuple[str, ...]] = set()
        unsynced_from = self._commit.position
        for each in found:
            if isinstance(each, BadPart):
                raise UnusableStorage(str(each))
            self._copy(each, seen)
            await asyncio.sleep(0)
            if self._commit.position - unsynced_from > UNSYNCED_BYTES:
                await self._commit.wait_synced(self._commit.position)
                unsynced_from = self._commit.position

    # --- what is copied -----------------------------------------------------------------------------------------------

    def _copy(self, record: AnyRecord, seen: set[tuple[str, ...]]) -> None:
        """Copy what a restart would miss without this record.

        Args:
            record: a record of the segment that is to be removed.
            seen: the topics and groups whose settings are copied already, and the schedules, with an empty topic.
        """
        if isinstance(record, records.Dispatched):
            seqs = range(record.first_seq, record.first_seq + len(record.event_ids))
            named = [event_id for event_id, made in zip(record.event_ids, record.generated, strict=True) if not made]
            self._copy_events(record.topic, record.event_ids, dict(zip(seqs, record.bodies, strict=True)))
            self._copy_memory(record.topic, named, [record.answered.request_id])
        elif isinstance(record, records.Copied):
            bodies = {one.seq: body for one, body in zip(record.events, record.bodies, strict=True)}
            self._copy_events(record.topic, [one.id for one in record.events], bodies)
            self._copy_memory(record.topic, [one.id for one in record.events if not one.arrival.id_is_generated], [])
        elif isinstance(record, records.Remembered):
            self._copy_memory(record.topic, record.event_ids, [answer.request_id for answer in record.answers])
        elif isinstance(record, records.GroupState):
            self._copy_group(record.topic, record.group, seen)
        elif isinstance(record, records.Leased | records.KeyTimes):
            self._copy_times(record.topic, record.group, seen)
        elif isinstance(record, records.TopicState):
            self._copy_topic(record.topic, seen)
        elif isinstance(record, records.ScheduleState):
            self._copy_schedule(record.schedule.name, seen)

    def _copy_events(self, name: str, event_ids: Sequence[str], bodies: Mapping[int, bytes]) -> None:
        """Copy those of these events that are still held. ``bodies`` has theirs by ``seq``, in the same order."""
        topic = self._topics.find(name)
        if topic is None:
            return
        found = [copies for pair in zip(event_ids, bodies, strict=True) if (copies := _copies(topic, *pair))]
        for part in _parts(found):
            self._copy_part(topic, part, bodies)

    def _copy_part(self, topic: Topic, part: Sequence[Copies], bodies: Mapping[int, bytes]) -> None:
        entries: dict[str, list[records.EntryState]] = {}
        for group, entry in chain.from_iterable(part):
            entries.setdefault(group.name, []).append(records.EntryState.of(entry))
        groups = [
            records.CopiedGroup(group.name, group.ephemeral, entries[group.name])
            for group in topic.all_groups()
            if group.name in entries
        ]
        events = [copies[0][1].event for copies in part]
        copied = records.Copied(topic.name, events, [bodies[event.seq] for event in events], groups)
        segment, _ = self._append(copied)
        copied.enter(segment)
        self._bodies.copied(segment, copied)

    def _copy_memory(self, name: str, event_ids: Sequence[str], request_ids: Sequence[str]) -> None:
        topic = self._topics.find(name)
        if topic is None:
            return
        now_us = self._now_us()
        untils = {one: topic.remembered(one) or 0 for one in event_ids}
        gone = {one: until_us for one, until_us in untils.items() if until_us > now_us}
        answers = [answer for one in request_ids if (answer := _answer(topic, one)).until_us > now_us]
        if gone or answers:
            self._keep(records.Remembered(name, list(gone), list(gone.values()), answers))

    def _copy_group(self, name: str, group_name: str, seen: set[tuple[str, ...]]) -> None:
        topic = self._topics.find(name)
        group = topic.groups.get(group_name) if topic else None
        if group is not None and (name, group_name) not in seen:
            seen.add((name, group_name))
            self._keep(records.GroupState.of(group))
            # A restart can't use those that come before the group's state.
            self._copy_times(name, group_name, seen)

    def _copy_times(self, name: str, group_name: str, seen: set[tuple[str, ...]]) -> None:
        """Copy how far a group and its keys have used up their rates, and their pauses."""
        topic = self._topics.find(name)
        group = topic.groups.get(group_name) if topic else None
        if group is None or (name, group_name, "times") in seen:
            return
        seen.add((name, group_name, "times"))
        if group.throttle.tat_us or group.throttle.paused_until_us:
            self._copy_group(name, group_name, seen)
        keys = [*group.indexes.keys.opens, *group.indexes.keys.idle]
        for start in range(0, len(keys), COPY_EVENTS):
            self._keep(records.KeyTimes.of(group, keys[start : start + COPY_EVENTS]))

    def _copy_topic(self, name: str, seen: set[tuple[str, ...]]) -> None:
        topic = self._topics.find(name)
        if topic is not None and topic.changes and (name, "") not in seen:
            seen.add((name, ""))
            self._keep(records.TopicState(name, topic.changes))

    def _copy_schedule(self, name: str, seen: set[tuple[str, ...]]) -> None:
        """Copy a schedule as it is now, with what later records say about it."""
        schedule = self._topics.schedules.find(name)
        if schedule is not None and ("", name) not in seen:
            seen.add(("", name))
            self._keep(records.ScheduleState(schedule))

    def _keep(self, record: Record) -> None:
        segment, size = self._append(record)
        segment.kept += size


Copies = list[tuple["Group", "Entry"]]
"""An event in each group that holds it."""


def _copies(topic: Topic, event_id: str, seq: int) -> Copies:
    """The event of this ``seq`` in every group that holds it; none if it is gone."""
    return [
        (group, entry)
        for group in topic.all_groups()
        if (entry := group.entries.get(event_id)) is not None and entry.seq == seq
    ]


def _parts(found: Sequence[Copies]) -> Iterator[list[Copies]]:
    """The events in parts, each small enough for one record."""
    part: list[Copies] = []
    size = 0
    for copies in found:
        part.append(copies)
        size += copies[0][1].event.body_size
        if len(part) == COPY_EVENTS or size >= COPY_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _answer(topic: Topic, request_id: str) -> records.Answered:
    """What the topic remembers of a request; an empty record if nothing."""
    known = topic.remembered_answer(request_id)
    if known is None:
        return records.Answered()
    until_us, identity, answer = known
    return records.Answered(request_id, identity, until_us, list(answer.event_ids), answer.duplicate_event_ids)
