"""Rebuilds topics from the records of a journal. Each record is applied once, in order.

A record may refer to events that are not known, because the segment that held them is gone: they were removed, or
copied to a later segment. Only what refers to such events is skipped.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import UnusableStorage
from duebus_server.domain.event_ids import shortened
from duebus_server.domain.model import DispatchAnswer
from duebus_server.domain.states import EventState
from duebus_server.domain.views import AttemptOutcome
from duebus_server.engine.local.due_index import sort_key
from duebus_server.engine.local.journal import records
from duebus_server.engine.local.journal.bodies import is_far_off, locations
from duebus_server.engine.local.journal.reading import BadPart, read_segment
from duebus_server.engine.local.records import NO_PAST, Arrivals, EventCopy, Lease, Past, Segment, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.journal.directory import DataDirectory
    from duebus_server.engine.local.journal.records import AnyRecord
    from duebus_server.engine.local.records import Entry
    from duebus_server.engine.local.topic import Topic
    from duebus_server.engine.local.topics import Topics

RETURN_US = 5 * SECOND
"""The shortest time that a lease lasts after a restart, so that its worker can reconnect."""


class Recovery:
    """Applies records to topics.

    Attributes:
        token: no higher fencing token was handed out.
        ahead_us: how far the host's clock was ahead of the engine's, when that was last recorded.
        last_us: the latest time in the records.
        last_seq: the highest ``seq`` in the records.

    Args:
        topics: empty; filled by ``apply_segment`` and ``finish``.
        host_us: the host's clock. Bodies of events that are not due soon stay on the disk; with None, all are read.
    """

    def __init__(self, topics: Topics, host_us: int | None = None) -> None:
        self._host_us = host_us
        self.token = 0
        self.ahead_us = 0
        self.last_us = 0
        self.last_seq = 0
        self._topics = topics
        self._segment = Segment(0)
        self._events: dict[int, StoredEvent] = {}
        self._steps: dict[type[AnyRecord], Callable[..., None]] = {
            records.SegmentStart: self._mark,
            records.Mark: self._mark,
            records.Dispatched: self._dispatched,
            records.Leased: self._leased,
            records.Removed: self._removed,
            records.Changed: self._changed,
            records.Copied: self._copied,
            records.GroupState: self._group_state,
            records.GroupDeleted: self._group_deleted,
            records.KeyTimes: self._key_times,
            records.TopicState: self._topic_state,
            records.TopicDeleted: self._topic_deleted,
            records.Remembered: self._remembered,
            records.ScheduleState: self._schedule_state,
            records.ScheduleAdvanced: self._schedule_advanced,
            records.ScheduleDeleted: self._schedule_deleted,
        }

    def apply_segment(
        self, directory: DataDirectory, number: int, size: int | None, on_torn: Callable[[BadPart], None]
    ) -> Segment:
        """Apply the records of the next segment.

        Args:
            directory: the data directory.
            number: the segment.
            size: as in the manifest; None for the last segment.
            on_torn: called with the end of the last segment if a crash has torn it.

        Raises:
            UnusableStorage: the segment is damaged, its layout is newer, or it is another segment's file.
            OSError: it can't be read.
        """
        self._segment = Segment(number)
        for found in read_segment(directory, number, size):
            if not isinstance(found, BadPart):
                self._steps[type(found)](found)
            elif found.is_tail:
                on_torn(found)
            else:
                raise UnusableStorage(
                    f"{found}: what they recorded is lost; 'duebus journal verify {directory.path}' shows the damage"
                )
        self._segment.size = directory.segment(number).stat().st_size
        return self._segment

    def finish(self, now_us: int) -> list[tuple[str, str]]:
        """Put every event into its index, and let leases last long enough for their workers to reconnect.

        Args:
            now_us: the time, by the engine's clock.

        Returns:
            The topic and name of each ephemeral group; none has sessions yet.
        """
        ephemeral: list[tuple[str, str]] = []
        for topic in list(self._topics):
            for group in topic.all_groups():
                group.restore(_in_order(group.entries.values()), now_us, RETURN_US)
                if group.ephemeral:
                    ephemeral.append((topic.name, group.name))
            topic.restored()
            if topic.is_idle():
                self._topics.remove(topic)
        return ephemeral

    # --- records ------------------------------------------------------------------------------------------------------

    def _mark(self, mark: records.Mark | records.SegmentStart) -> None:
        self.token = max(self.token, mark.token)
        self.ahead_us = mark.ahead_us

    def _dispatched(self, record: records.Dispatched) -> None:
        topic = self._topic(record.topic)
        now_us = record.now_us
        self.last_us = max(self.last_us, now_us)
        groups = [self._group(topic, name, ephemeral=ephemeral) for name, ephemeral in record.groups]
        arrivals, stored = Arrivals(), list[StoredEvent]()
        due_us: Sequence[int] = record.due_us or (now_us,) * len(record.event_ids)
        by_host: Sequence[bool] = record.by_host or (False,) * len(record.event_ids)
        limits: Sequence[int | None] = record.max_retries or (None,) * len(record.event_ids)
        keys: Sequence[str] = record.keys or ("",) * len(record.event_ids)
        priorities: Sequence[int] = record.priorities or (0,) * len(record.event_ids)
        seq = record.first_seq
        for event_id, body, generated, limit, at_us, host, key, priority in zip(
            record.event_ids, record.bodies, record.generated, limits, due_us, by_host, keys, priorities, strict=True
        ):
            arrival = arrivals.of(now_us, limit, generated, key, priority, record.origin)
            state = EventState.SCHEDULED if host or at_us > now_us else EventState.READY
            event = StoredEvent(event_id, body, arrival, state, sort_key(at_us, seq))
            event.by_host_clock = host
            event.enters(self._segment)
            self._events[seq] = event
            stored.append(event)
            for group in groups:
                _hold(group, event)
            seq += 1
        self._leave_on_disk(stored, record.bodies, record.end)
        self.last_seq = max(self.last_seq, seq - 1)
        if record.answered.request_id:
            self._answer(topic, record.answered, record.answered.event_ids or record.event_ids)

    def _leased(self, record: records.Leased) -> None:
        group = self._known_group(record.topic, record.group)
        self.last_us = max(self.last_us, record.now_us)
        self.token = max(self.token, record.first_token + len(record.seqs) - 1)
        for token, seq in enumerate(record.seqs, start=record.first_token):
            entry = self._entry(group, seq)
            if entry is None:
                continue
            lease = Lease(record.session_id, record.consumer, token, record.now_us, record.stalled, record.grace_us)
            entry.begin(lease, record.expires_us)
            entry.by_host_clock = False
            if group is not None and entry.key and group.order.policy.rate is not None:
                group.order.use_rate(entry, record.now_us)
        if group is not None:
            group.throttle.begun(len(record.seqs), record.now_us)

    def _removed(self, record: records.Removed) -> None:
        group = self._known_group(record.topic, record.group)
        topic = self._topics.find(record.topic)
        for seq in record.seqs:
            entry = self._entry(group, seq)
            if entry is not None and group is not None and topic is not None:
                del group.entries[entry.event.id]
                self._drop_holder(topic, entry.event, record.until_us)

    def _changed(self, record: records.Changed) -> None:
        group = self._known_group(record.topic, record.group)
        for state in record.entries:
            entry = self._entry(group, state.seq)
            if entry is not None and group is not None:
                if entry.lease is not None and state.lease is None:
                    _refund_if_released(group, entry, state)
                _set_state(entry, state)

    def _copied(self, record: records.Copied) -> None:
        topic = self._topic(record.topic)
        for event in record.events:
            self._forget(topic, event.seq)
            self._events[event.seq] = event
            self.last_seq = max(self.last_seq, event.seq)
        record.enter(self._segment)
        for copied in record.groups:
            group = self._group(topic, copied.name, ephemeral=copied.ephemeral)
            for state in copied.entries:
                _set_state(_hold(group, self._events[state.seq]), state)
        self._leave_on_disk(record.events, record.bodies, record.end - record.tail)

    def _group_state(self, record: records.GroupState) -> None:
        topic = self._topic(record.topic)
        if record.claims:
            group = topic.group(record.group, 0, ephemeral=record.ephemeral)
        else:
            group = self._group(topic, record.group, ephemeral=record.ephemeral)
        group.kept_us, group.paused, group.changes = record.kept_us, record.paused, record.changes
        group.throttle.tat_us, group.throttle.paused_until_us = record.tat_us, record.paused_until_us
        group.follow_settings()

    def _key_times(self, record: records.KeyTimes) -> None:
        group = self._known_group(record.topic, record.group)
        for name, tat_us, paused_until_us in zip(record.names, record.tats_us, record.paused_until_us, strict=True):
            if group is not None:
                key = group.indexes.keys.obtain(name)
                key.tat_us, key.paused_until_us = tat_us, paused_until_us

    def _group_deleted(self, record: records.GroupDeleted) -> None:
        topic = self._topics.find(record.topic)
        if topic is None or record.group not in topic.groups:
            return
        group = topic.remove_group(record.group, record.until_us)
        topic.forget_group(group)
        for entry in group.entries.values():
            self._drop_holder(topic, entry.event, record.until_us)

    def _topic_state(self, record: records.TopicState) -> None:
        self._topic(record.topic).configure(record.changes)

    def _topic_deleted(self, record: records.TopicDeleted) -> None:
        topic = self._topics.find(record.topic)
        if topic is None:
            return
        for group in topic.all_groups():
            for entry in group.entries.values():
                if self._events.pop(entry.seq, None) is not None:
                    entry.event.leaves()
        self._topics.remove(topic)

    def _remembered(self, record: records.Remembered) -> None:
        topic = self._topic(record.topic)
        for event_id, until_us in zip(record.event_ids, record.until_us, strict=True):
            topic.remember(event_id, until_us)
        for answer in record.answers:
            self._answer(topic, answer, answer.event_ids)

    def _schedule_state(self, record: records.ScheduleState) -> None:
        self._topics.schedules.put(record.schedule)

    def _schedule_advanced(self, record: records.ScheduleAdvanced) -> None:
        known = self._topics.schedules.find(record.name)
        if known is not None:
            self._topics.schedules.put(record.applied_to(known))

    def _schedule_deleted(self, record: records.ScheduleDeleted) -> None:
        if self._topics.schedules.find(record.name) is not None:
            self._topics.schedules.remove(record.name)

    def _leave_on_disk(self, events: Sequence[StoredEvent], bodies: Sequence[bytes], end: int) -> None:
        """Drop the bodies of events that are not due soon. They stay on disk even if a later record changes that."""
        if self._host_us is None or not any(event.state is EventState.SCHEDULED for event in events):
            return
        for event, location in zip(events, locations(end, bodies), strict=True):
            if is_far_off(event, self._host_us - self.ahead_us, self.ahead_us):
                event.content = location

    # --- parts --------------------------------------------------------------------------------------------------------

    def _topic(self, name: str) -> Topic:
        return self._topics.obtain(name, self.last_us)

    def _group(self, topic: Topic, name: str, *, ephemeral: bool) -> Group:
        """A group that must exist by now, even if the record that created it is gone."""
        return topic.restored_group(name, ephemeral=ephemeral)

    def _known_group(self, topic: str, name: str) -> Group | None:
        found = self._topics.find(topic)
        if found is None:
            return None
        return found.groups.get(name) if name else found.unclaimed

    def _entry(self, group: Group | None, seq: int) -> Entry | None:
        """The event of this ``seq`` in a group, if both are known."""
        event = self._events.get(seq)
        if group is None or event is None:
            return None
        entry = group.entries.get(event.id)
        return entry if entry is not None and entry.event is event else None

    def _forget(self, topic: Topic, seq: int) -> None:
        """Drop what earlier records say about an event."""
        event = self._events.pop(seq, None)
        if event is None:
            return
        event.leaves()
        for group in topic.all_groups():
            entry = group.entries.get(event.id)
            if entry is not None and entry.event is event:
                del group.entries[event.id]

    def _drop_holder(self, topic: Topic, event: StoredEvent, until_us: int) -> None:
        """One group less holds the event. After the last one, only its id is remembered."""
        event.holders -= 1
        if event.holders:
            return
        event.leaves()
        del self._events[event.seq]
        if not event.arrival.id_is_generated:
            topic.remember(event.id, until_us)

    @staticmethod
    def _answer(topic: Topic, answer: records.Answered, event_ids: Sequence[str]) -> None:
        kept = DispatchAnswer(shortened(event_ids), answer.duplicates)
        topic.remember_answer(answer.request_id, answer.identity, kept, answer.until_us)


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=attrgetter("sort_key"))


def _hold(group: Group, event: StoredEvent) -> Entry:
    """Put an event into one more group. Returns its entry there."""
    entry = group.entries[event.id] = EventCopy(event) if event.holders else event
    event.holders += 1
    return entry


def _refund_if_released(group: Group, entry: Entry, state: records.EntryState) -> None:
    last = state.history[-1] if state.history else None
    if last is not None and last.outcome is AttemptOutcome.RELEASED and last.ended_us is not None:
        group.throttle.refund(last.ended_us)
        if entry.key:
            group.order.refund(entry, last.ended_us)


def _set_state(entry: Entry, state: records.EntryState) -> None:
    entry.state, entry.by_host_clock, entry.lease = state.state, state.by_host_clock, state.lease
    entry.at_us = state.at_us
    entry.deliver_at_us = state.deliver_at_us
    entry.attempt = state.attempt
    past = Past(state.last_error, state.free_attempts, tuple(state.history), state.pinned)
    entry.past = NO_PAST if past == NO_PAST else past
