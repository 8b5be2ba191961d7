"""What a group holds, its settings, what operators do to its events, and the moves that it shares with ``group``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from duebus_server.domain.administration import GroupChanges
from duebus_server.domain.minutes import Minutes
from duebus_server.domain.rates import NO_LIMITS
from duebus_server.domain.states import EventState
from duebus_server.engine.local.indexes import StateIndexes
from duebus_server.engine.local.key_order import KeyOrder
from duebus_server.engine.local.leases import Leases
from duebus_server.engine.local.meter import RateMeter
from duebus_server.engine.local.throttle import Throttle
from duebus_server.engine.local.unannounced import Unannounced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from duebus_server.domain.administration import NewDueTime
    from duebus_server.domain.model import SubscriberInfo
    from duebus_server.domain.retry import RetryPolicy
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.local.host_time import HostTime
    from duebus_server.engine.local.recorder import Recorder
    from duebus_server.engine.local.records import Entry, StoredEvent

PROMOTE_LIMIT = 1_000
"""The most events that become ready, or lose an expired lease, in one step. It keeps the step short."""

NO_CHANGES = GroupChanges()


class Holder(Protocol):
    """What a group needs of its topic, which counts how many groups still hold each event."""

    name: str
    recorder: Recorder[GroupCore] | None

    @property
    def config(self) -> TopicConfig:
        """The topic's settings in force."""

    def no_longer_waiting(self, event: StoredEvent) -> None:
        """The event is dead or gone in one more lasting group."""

    def waiting_again(self, event: StoredEvent) -> None:
        """The event is no longer dead in one more lasting group."""

    def drop_copies(self, events: Iterable[StoredEvent], now_us: int, *, waited: bool) -> None:
        """One more group is done with these events.

        Args:
            events: either all or none of them were dead in the group.
            now_us: the time, in microseconds.
            waited: the group lasts, and they were not dead in it.
        """


class GroupCore:
    """The events of one group by state.

    Attributes:
        topic: the topic's name.
        leases: those of its sessions.
        unannounced: changes that are yet to be reported to the watcher.
        indexes: the events of each state, in order.
        order: the order of events with the same key.
        changes: how its settings differ from the topic's. ``follow_settings`` must be called when either has changed.
        throttle: what its limits let it lease.
        max_blocked: how many events of a key may be BLOCKED; 0 is unlimited.
        minutes: what it did in each of the last minutes.
        ephemeral: whether it is deleted when its last session has left.
        kept_us: how long it lasts without sessions after a restart, if it is ephemeral.
        bodies_scanned: the last event that ``Bodies`` has looked at in each index of SCHEDULED ones: its time and
            ``seq``.
        cause_end: where the last record ends, dispatches aside, that made something leasable.
    """

    def __init__(self, name: str, holder: Holder, host: HostTime, now_us: int, *, ephemeral: bool = False) -> None:
        self.name = name
        self.topic = holder.name
        self.ephemeral = ephemeral
        self.kept_us = 0
        self.cause_end = 0
        self.bodies_scanned = [(0, 0)] * 4
        self.paused = False
        self.changes = NO_CHANGES
        self.entries: dict[str, Entry] = {}
        self.indexes = StateIndexes(host)
        self.order = KeyOrder(self.indexes)
        self.throttle = Throttle()
        self.max_blocked = 0
        self.sessions: dict[str, SubscriberInfo] = {}
        self.leases = Leases()
        self.unannounced = Unannounced()
        self.dispatched = RateMeter(now_us)
        self.delivered = RateMeter(now_us)
        self.acked = RateMeter(now_us)
        self.nacked = RateMeter(now_us)
        self.minutes = Minutes()
        self._holder = holder
        self._recorder = holder.recorder
        self._host = host
        self._kept_until_us = 0
        self.follow_settings()

    @property
    def retry_policy(self) -> RetryPolicy:
        """The retry policy in force."""
        policy = self._holder.config.retry_policy
        return self.changes.retry_policy.over(policy) if self.changes else policy

    @property
    def config(self) -> TopicConfig:
        """The settings in force for the group."""
        return self.changes.over(self._holder.config)

    def follow_settings(self) -> None:
        """Follow the limits and the key policy that are in force now."""
        config = self.config
        self.throttle.limits = config.limits or NO_LIMITS
        self.max_blocked = config.max_blocked
        self.order.follow(config.keys)

    # --- dead letters -----------------------------------------------------------------------------------------------

    def purge_dead(self, died_before_us: int, now_us: int) -> None:
        """DEAD -> removed for events that died before ``died_before_us``, up to PROMOTE_LIMIT."""
        for entry in self.indexes.by_state[EventState.DEAD].until(died_before_us, PROMOTE_LIMIT):
            self.remove(entry, now_us)

    def redrive(self, entry: Entry, due_us: int, now_us: int) -> None:
        """DEAD -> READY or BLOCKED, or SCHEDULED if it is due later, with all its retries and its history."""
        entry.note_redrive(now_us)
        if self.order.is_held_by(entry):
            self.order.come_back_in_front(entry, due_us, now_us)
            self._record_changed(entry)
        else:
            self.delay(entry, due_us, now_us)
        if not self.ephemeral:
            self._holder.waiting_again(entry.event)

    # --- operators --------------------------------------------------------------------------------------------------

    def reschedule(self, entry: Entry, due: NewDueTime, now_us: int) -> None:
        """Move a scheduled, ready or blocked event to SCHEDULED, or to READY or BLOCKED if it is due."""
        if due.deliver_at_us is None or due.deliver_at_us <= self._host.now_us:
            self.delay(entry, now_us + (due.delay_us or 0), now_us)
            return
        self.order.take_out(entry, now_us)
        entry.deliver_at_us = due.deliver_at_us
        self.indexes.put(entry, EventState.SCHEDULED, due.deliver_at_us, by_host_clock=True)
        self._record_changed(entry)

    def delay(self, entry: Entry, due_us: int, now_us: int) -> None:
        """Move an event that is not LEASED to SCHEDULED, or to READY or BLOCKED if it is due, by the engine's clock."""
        self.order.take_out(entry, now_us)
        entry.deliver_at_us = due_us
        if due_us > now_us:
            self.indexes.put(entry, EventState.SCHEDULED, due_us)
        elif entry.key:
            self.order.come_due(entry, due_us, now_us)
        else:
            self.indexes.put(entry, EventState.READY, due_us)
        self._record_changed(entry)

    def remove(self, entry: Entry, now_us: int) -> None:
        """Any state but LEASED -> removed."""
        self.order.take_out(entry, now_us)
        del self.entries[entry.event.id]
        self._record_removed((entry,), now_us)
        self._holder.drop_copies((entry.event,), now_us, waited=self._waits(entry.state))

    def dissolve(self, now_us: int) -> Iterator[None]:
        """Remove everything from a deleted group, one piece a step. It must not be used afterwards."""
        for state, index in [(one, index) for one in EventState for index in self.indexes.all_of(one)]:
            while block := index.pop_block():
                for entry in block:
                    del self.entries[entry.event.id]
                events = [entry.event for entry in block]
                self._holder.drop_copies(events, now_us, waited=self._waits(state))
                yield
        while self.indexes.ranked.pop_block():
            yield
        yield from self.indexes.keys.dissolve()
        self.entries, self.leases = {}, Leases()  # a dict does not shrink

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _waits(self, state: EventState) -> bool:
        """Whether an event in this state counts as queued because of this group."""
        return not (self.ephemeral or state is EventState.DEAD)

    def max_retries(self, entry: Entry) -> int:
        """How many times an event may be retried: by its own setting, or else by the group's policy."""
        own = entry.event.arrival.max_retries
        return self.retry_policy.max_retries if own is None else own

    def _die(self, entry: Entry, now_us: int) -> None:
        self._move(entry, EventState.DEAD, now_us)
        if entry.key:
            for moved in self.order.died(entry, now_us):
                self._record_changed(moved)
        self.unannounced.died.append(entry.event.id)
        self.minutes.at(now_us).dead += 1
        if not self.ephemeral:
            self._holder.no_longer_waiting(entry.event)

    def _make_ready_again(self, entry: Entry, now_us: int) -> None:
        """Move an entry to READY, at its old position. A due time by the host's clock may be ahead of the engine's."""
        due_us = min(entry.deliver_at_us, now_us)
        if entry.key:
            self.order.come_back(entry, due_us, now_us, retry=False)
            self._record_changed(entry)
        else:
            self._move(entry, EventState.READY, due_us)

    def _move(self, entry: Entry, state: EventState, at_us: int) -> None:
        """Move an entry, and record what it is when the verb is done."""
        self.indexes.move(entry, state, at_us)
        self._record_changed(entry)

    def _record_changed(self, entry: Entry) -> None:
        if self._recorder is not None:
            self._recorder.changed(self, entry)

    def _record_removed(self, entries: Sequence[Entry], now_us: int) -> None:
        if entries and self._recorder is not None:
            self._recorder.removed(self, entries, now_us + self._holder.config.dedupe_window_us)
