"""One topic: its events, each stored once, its groups, and the ids that it remembers to detect duplicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.administration import TopicChanges
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DueBusError, MaxQueuedEventsReached, NoHandlerFound, RequestIdReused
from duebus_server.domain.event_ids import shortened
from duebus_server.domain.minutes import Minutes
from duebus_server.domain.model import DispatchAnswer, DispatchRequest, NewEvent
from duebus_server.domain.states import EventState
from duebus_server.engine.local.due_index import SEQ_BITS
from duebus_server.engine.local.group import Group
from duebus_server.engine.local.key_order import first_room
from duebus_server.engine.local.recent import RecentMemory
from duebus_server.engine.local.records import Arrivals, EventCopy, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from duebus_server.domain.views import TopicConfig, TopicInfo
    from duebus_server.engine.local.body_room import BodyRoom
    from duebus_server.engine.local.group_core import GroupCore
    from duebus_server.engine.local.hand_over import HandOver
    from duebus_server.engine.local.host_time import HostTime
    from duebus_server.engine.local.recorder import Recorder
    from duebus_server.engine.local.records import Entry

RETRY_WHEN_FULL_US = SECOND
"""The retry delay of a dispatch to a topic that is full."""

FORGET_AT_ONCE = 1_000
"""How many remembered ids of a deleted topic are dropped in one step. It keeps the step short."""


class Topic:
    """The events of one topic.

    Attributes:
        stored: how many events the topic holds. Each is held until the last group is done with it.
        groups: by name.
        unclaimed: holds the events of a topic without lasting groups; the first one takes them over.
        config: the settings in force.
        queued: how many events wait in a lasting group, or for the first one; dead letters do not.
        deleted: whether the topic was deleted, and its memory is being released.
        idle_info: how operators see it, while it has no events and nobody uses it.
        changes: how the settings differ from the defaults.
        sweep_key: its position in ``Sweeps``; None if it has none.
        recorder: records its changes; None for an engine in memory.
        minutes: how many events were dispatched in each of the last minutes.

    Args:
        name: its name.
        defaults: the settings that were not set for the topic.
        next_seqs: returns a ``seq`` for each of this many new events.
        host: the host's clock.
        room: what bodies take up in all topics of the engine.
        now_us: the time, in microseconds.
        recorder: records what happens; None for an engine in memory.
    """

    def __init__(
        self,
        name: str,
        defaults: TopicConfig,
        next_seqs: Callable[[int], Iterable[int]],
        host: HostTime,
        room: BodyRoom,
        now_us: int,
        recorder: Recorder[GroupCore] | None = None,
    ) -> None:
        self.name = name
        self.recorder = recorder
        self.config = defaults
        self.deleted = False
        self.sweep_key: int | None = None
        self.idle_info: TopicInfo | None = None
        self.stored = 0
        self.groups: dict[str, Group] = {}
        self.unclaimed: Group | None = None
        self.queued = 0
        self.minutes = Minutes()
        self._lasting = 0
        # Deleted groups, until their event ids are among the recent ones; and until when those are remembered.
        self._leaving: dict[Group, int] = {}
        self._next_seqs = next_seqs
        self._recent_ids: RecentMemory[None] = RecentMemory()
        self._answers: RecentMemory[tuple[int, DispatchAnswer]] = RecentMemory()
        self._created_us = now_us
        self._host = host
        self._room = room
        self._defaults = defaults
        self.changes = TopicChanges()

    def configure(self, changes: TopicChanges) -> None:
        """Change the settings."""
        self.changes = self.changes.then(changes)
        self.config = self.changes.over(self._defaults)
        for group in self.all_groups():
            group.follow_settings()

    # --- groups -----------------------------------------------------------------------------------------------------

    def group(self, name: str, now_us: int, *, ephemeral: bool = False) -> Group:
        """The group of this name, created if it does not exist. The first lasting one takes over unclaimed events."""
        group = self.groups.get(name)
        if group is not None:
            return group
        if ephemeral:
            group = Group(name, self, self._host, now_us, ephemeral=True)
        else:
            group, self.unclaimed = self.unclaimed or Group(name, self, self._host, now_us), None
            group.name = name
            self._lasting += 1
        self.groups[name] = group
        return group

    def receivers(self) -> Iterable[Group]:
        """The groups that get dispatched events."""
        if self._lasting:
            return self.groups.values()
        if self.unclaimed is None:
            self.unclaimed = Group("", self, self._host, self._created_us)
        return (self.unclaimed, *self.groups.values())

    def remove_group(self, name: str, until_us: int) -> Group:
        """Remove a group. ``dissolve_group`` then releases its events, whose ids are remembered until ``until_us``."""
        group = self.groups.pop(name)
        self._lasting -= not group.ephemeral
        self._leaving[group] = until_us
        return group

    def dissolve_group(self, group: Group, now_us: int) -> Iterator[None]:
        """Release the events of a removed group, one piece a step."""
        yield from group.dissolve(now_us)
        self.forget_group(group)

    def forget_group(self, group: Group) -> None:
        """The events of a removed group are released."""
        del self._leaving[group]

    def has_subscriber(self) -> bool:
        """Whether a session of any group is connected."""
        return any(group.sessions for group in self.groups.values())

    # --- dispatch ---------------------------------------------------------------------------------------------------

    def dispatch(
        self, request: DispatchRequest, now_us: int, hand_overs: Mapping[str, HandOver]
    ) -> DispatchAnswer | DueBusError:
        """Store the events of a request in every group, all or none; see ``Engine.dispatch``.

        Args:
            request: the request.
            now_us: the time, in microseconds.
            hand_overs: by the name of the group, where a session has reserved room.
        """
        known = self._answers.get(request.request_id, now_us)
        if known is not None:
            identity, answer = known
            return answer if identity == request.identity() else RequestIdReused()
        if request.require_subscriber and not self.has_subscriber():
            return NoHandlerFound(f"topic {self.name!r} has no subscriber", metadata={"topic": self.name})
        fresh, duplicates = self._without_duplicates(request.events, now_us)
        if fresh and (full := self._full(fresh)) is not None:
            return full
        if (excess := self._key_in_excess(fresh, now_us)) is not None:
            return self._blocked(*excess)
        answer = DispatchAnswer([event.id for event in request.events], duplicates)
        if request.request_id:
            kept = DispatchAnswer(shortened(answer.event_ids), duplicates)
            known = (request.identity(), kept)
            self._answers.remember(request.request_id, known, now_us + self.config.dedupe_window_us)
        self._store(fresh, request, duplicates, now_us, hand_overs)
        return answer

    def _without_duplicates(self, events: Sequence[NewEvent], now_us: int) -> tuple[list[NewEvent], list[str]]:
        # Generated ids too: a request that is repeated after its answer was forgotten gets the same ones.
        ids = {event.id for event in events}
        held = set[str]().union(*(group.entries.keys() & ids for group in (*self.all_groups(), *self._leaving)))
        fresh: dict[str, NewEvent] = {}
        duplicates: list[str] = []
        for event in events:
            if event.id in fresh or event.id in held or self._recent_ids.knows(event.id, now_us):
                duplicates.append(event.id)
            else:
                fresh[event.id] = event
        return list(fresh.values()), duplicates

    def _store(
        self,
        events: Sequence[NewEvent],
        request: DispatchRequest,
        duplicates: Sequence[str],
        now_us: int,
        hand_overs: Mapping[str, HandOver],
    ) -> None:
        receivers = list(self.receivers())
        stored = self._new_events(events, request.origin, now_us, len(receivers))
        self.stored += len(events)
        self.queued += len(events)
        if events:
            self.minutes.at(now_us).dispatched += len(events)
        self._room.used += sum([len(event.body) for event in events])
        if self.recorder is not None and (events or request.request_id):
            until_us = now_us + self.config.dedupe_window_us
            self.recorder.dispatched(self.name, receivers, stored, request, duplicates, until_us)
        copies = [[EventCopy(event) for event in stored] for _ in receivers[1:]]
        of_groups: list[Sequence[Entry]] = [stored, *copies]
        for group, entries in zip(receivers, of_groups, strict=True):
            hand_over = hand_overs.get(group.name)
            group.put(entries, now_us, None if hand_over is None else hand_over.take)

    def _new_events(self, events: Sequence[NewEvent], origin: str, now_us: int, holders: int) -> list[StoredEvent]:
        stored: list[StoredEvent] = []
        arrivals, arrival, ready = Arrivals(), None, EventState.READY
        for new, seq in zip(events, self._next_seqs(len(events)), strict=True):
            if (
                arrival is None
                or new.id_is_generated is not arrival.id_is_generated
                or new.max_retries != arrival.max_retries
                or new.key != arrival.key
                or new.priority != arrival.priority
            ):
                arrival = arrivals.of(now_us, new.max_retries, new.id_is_generated, new.key, new.priority, origin)
            event = StoredEvent(new.id, new.body, arrival, ready, now_us << SEQ_BITS | seq)
            if new.delay_us or new.deliver_at_us is not None:
                self._schedule(event, new)
            event.holders, event.waiting = holders, self._lasting or 1
            stored.append(event)
        return stored

    def _schedule(self, event: StoredEvent, new: NewEvent) -> None:
        """Give a new event its due time, unless that has passed."""
        if new.deliver_at_us is not None and new.deliver_at_us > self._host.now_us:
            event.state, event.by_host_clock = EventState.SCHEDULED, True
            event.deliver_at_us = event.at_us = new.deliver_at_us
        elif new.delay_us:
            event.state = EventState.SCHEDULED
            event.deliver_at_us = event.at_us = event.at_us + new.delay_us

    def _full(self, events: Sequence[NewEvent]) -> MaxQueuedEventsReached | None:
        """Why there is no room for these events; None if there is."""
        most, room = self.config.max_queued, self._room
        metadata = {"topic": self.name}
        if most and self.queued + len(events) > most:
            text = f"topic {self.name!r} holds {self.queued} events of at most {most}"
            metadata["max_queued"] = str(most)
        elif not room.fits(sum([len(event.body) for event in events])):
            text = f"engine local holds {room.used} bytes of event bodies, of at most {room.max_bytes}"
            metadata["max_queued_bytes"] = str(room.max_bytes)
        else:
            return None
        return MaxQueuedEventsReached(text, metadata=metadata, retry_after_us=RETRY_WHEN_FULL_US)

    def is_unfinished(self, event_id: str) -> bool:
        """Whether an event is held and not dead in a lasting group, or waits for the first one."""
        copies = (group.entries.get(event_id) for group in self.all_groups())
        return any(entry is not None and entry.event.waiting for entry in copies)

    def event(self, event_id: str) -> StoredEvent:
        """An event that some group holds."""
        return next(group.entries[event_id].event for group in self.all_groups() if event_id in group.entries)

    def _key_in_excess(self, events: Sequence[NewEvent], now_us: int) -> tuple[str, int] | None:
        """A key of which more events would be BLOCKED in a lasting group than may be, and how many may be; or None."""
        host_us = self._host.now_us
        due: dict[str, int] = {}
        for event in events:
            if event.key:
                is_due = event.is_due_at_once or (event.deliver_at_us is not None and event.deliver_at_us <= host_us)
                due[event.key] = due.get(event.key, 0) + is_due
        if not due:
            return None
        lasting = [group for group in self.all_groups() if not group.ephemeral]
        for key, count in due.items():
            for group in lasting:
                if group.max_blocked and group.order.blocked_after(key, count, now_us) > group.max_blocked:
                    return key, group.max_blocked
            most = self.config.max_blocked
            if not lasting and 0 < most < count - min(count, first_room(self.config.keys)):
                return key, most
        return None

    def _blocked(self, key: str, most: int) -> MaxQueuedEventsReached:
        return MaxQueuedEventsReached(
            f"topic {self.name!r} may hold at most {most} blocked events with the key {key!r}",
            metadata={"topic": self.name, "key": key, "max_blocked": str(most)},
            retry_after_us=RETRY_WHEN_FULL_US,
        )

    # --- what groups report -------------------------------------------------------------------------------------------

    def no_longer_waiting(self, event: StoredEvent) -> None:
        """The event is dead or gone in one more lasting group. After the last one, it no longer counts as queued."""
        event.waiting -= 1
        if not event.waiting:
            self.queued -= 1

    def waiting_again(self, event: StoredEvent) -> None:
        """The event is no longer dead in one more lasting group. With the first one, it counts as queued again."""
        if not event.waiting:
            self.queued += 1
        event.waiting += 1

    def drop_copies(self, events: Iterable[StoredEvent], now_us: int, *, waited: bool) -> None:
        """One more group is done with these events. After the last, they are gone."""
        gone: list[StoredEvent] = []
        for event in events:
            if waited:
                self.no_longer_waiting(event)
            event.holders -= 1
            if not event.holders:
                gone.append(event)
        self.stored -= len(gone)
        self._room.used -= sum([event.body_size for event in gone])
        for event in gone:
            arrival = event.arrival
            if arrival.segment is not None:
                event.leaves()
            if not (arrival.id_is_generated or self.deleted):
                self._recent_ids.remember(event.id, None, now_us + self.config.dedupe_window_us)

    # --- what the journal holds of it ---------------------------------------------------------------------------------

    def remember(self, event_id: str, until_us: int) -> None:
        """The event is gone; its id is remembered until then."""
        self._recent_ids.remember(event_id, None, until_us)

    def remember_answer(self, request_id: str, identity: int, answer: DispatchAnswer, until_us: int) -> None:
        """A request was answered; that is remembered until then."""
        self._answers.remember(request_id, (identity, answer), until_us)

    def remembered(self, event_id: str) -> int | None:
        """Until when the id is remembered of an event that is gone, or in a deleted group; None if it is not."""
        leaving = [until_us for group, until_us in self._leaving.items() if event_id in group.entries]
        return max(leaving) if leaving else self._recent_ids.until_us(event_id)

    def remembered_answer(self, request_id: str) -> tuple[int, int, DispatchAnswer] | None:
        """Until when the answer to a request is remembered, its identity, and the answer; None if it is not."""
        until_us, known = self._answers.until_us(request_id), self._answers.get(request_id, 0)
        return None if until_us is None or known is None else (until_us, *known)

    def restored_group(self, name: str, *, ephemeral: bool) -> Group:
        """The group of this name, or the unclaimed events; made if there is none, without claiming anything."""
        group = self.groups.get(name) if name else self.unclaimed
        if group is None:
            group = Group(name, self, self._host, self._created_us, ephemeral=ephemeral)
            if not name:
                self.unclaimed = group
            else:
                self.groups[name] = group
                self._lasting += not ephemeral
        return group

    def restored(self) -> None:
        """Count what was restored, once the whole journal has been read."""
        if self.unclaimed is not None and not self.unclaimed.entries:
            self.unclaimed = None
        held: dict[int, int] = {}
        for group in self.all_groups():
            for entry in group.entries.values():
                held[entry.seq] = entry.event.body_size
                if not group.ephemeral and entry.state is not EventState.DEAD:
                    self.waiting_again(entry.event)
        self.stored = len(held)
        self._room.used += sum(held.values())
        self._recent_ids.sort()
        self._answers.sort()

    # --- housekeeping -----------------------------------------------------------------------------------------------

    def all_groups(self) -> list[Group]:
        """The unclaimed events, then the groups."""
        unclaimed = [self.unclaimed] if self.unclaimed is not None else []
        return unclaimed + list(self.groups.values())

    def forget(self, now_us: int) -> None:
        """Forget ids after the dedupe window, and purge dead letters after their retention."""
        if self.config.dead_letter_retention_us:
            for group in self.groups.values():
                group.purge_dead(now_us - self.config.dead_letter_retention_us, now_us)
        self._recent_ids.forget_before(now_us)
        self._answers.forget_before(now_us)

    def dissolve(self, now_us: int) -> Iterator[None]:
        """Release everything of a deleted topic, one piece a step. It must not be used afterwards."""
        self.deleted = True
        for group in self.all_groups():
            yield from group.dissolve(now_us)
        while self._recent_ids or self._answers:
            self._recent_ids.forget_some(FORGET_AT_ONCE)
            self._answers.forget_some(FORGET_AT_ONCE)
            yield

    def is_empty(self) -> bool:
        """Whether it has no events, and remembers neither ids nor keys: a sweep has nothing to do."""
        if self.stored or self._recent_ids or self._answers:
            return False
        return not any(len(group.indexes.keys) for group in self.groups.values())

    def next_sweep(self, ahead_us: int) -> int | None:
        """When a sweep next has something to do, unless a verb uses the topic before; None for never.

        Args:
            ahead_us: how long before its due time a scheduled event needs a sweep.
        """
        if self._leaving:
            return 0
        if self.is_empty():
            return None
        times = [self._recent_ids.first_us(), self._answers.first_us()]
        times += [group.next_sweep(ahead_us) for group in self.all_groups()]
        if retention_us := self.config.dead_letter_retention_us:
            dead = [group.indexes.by_state[EventState.DEAD].first() for group in self.groups.values()]
            times += [first[0] + retention_us for first in dead if first is not None]
        return min((at_us for at_us in times if at_us is not None), default=None)

    def is_idle(self) -> bool:
        """Whether the topic can be removed: it is empty, and has neither groups nor settings of its own."""
        return self.is_empty() and not (self.groups or self.changes)
