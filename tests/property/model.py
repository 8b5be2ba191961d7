"""A model of an engine: events in groups, moved by the transitions of ``domain.states``.

Times are nominal: microseconds since the machine began, by its own count. If the engine's clock runs during a test,
they match the engine's up to a grain; see ``support.engines.Harness``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING
from zlib import crc32

from duebus_server.domain.errors import DueBusError, MaxQueuedEventsReached, NoHandlerFound, RequestIdReused
from duebus_server.domain.model import DispatchAnswer, LeaseFailureReason, LeaseRef, NackAction, PauseScope
from duebus_server.domain.states import TRANSITIONS, EventState, Transition
from duebus_server.domain.views import AttemptOutcome
from property.model_group import Failure, ModelEntry, ModelGroup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duebus_server.domain.model import DispatchRequest, NewEvent, Pause
    from duebus_server.domain.rates import KeyPolicy, Limits
    from duebus_server.domain.views import TopicConfig

EXPIRED = "lease expired"
"""Stands for any reason that an engine gives for an expired lease."""


@dataclass(frozen=True)
class Partial:
    """Some events of a request to several partitions were refused."""

    cause: type[DueBusError]
    event_ids: list[str]


class Model:
    """One topic.

    Attributes:
        partitions: how many it has.
        ended: for each session the leases that have ended since this was last emptied.
    """

    def __init__(self, config: TopicConfig, partitions: int = 1) -> None:
        self.config = config
        self.partitions = partitions
        self.now_us = 0
        self.groups: dict[str, ModelGroup] = {}
        self.unclaimed = ModelGroup()
        self.ended: dict[str, set[int]] = defaultdict(set)
        self._seqs = count()
        self._requests = count()
        self._gone: dict[str, int] = {}
        self._answers: dict[tuple[str, int], tuple[int, list[tuple[str, str | None]], DispatchAnswer]] = {}

    # --- what there is ------------------------------------------------------------------------------------------------

    def has_lasting_group(self) -> bool:
        """Whether it has a group that is not ephemeral: without one, new events wait for it."""
        return not all(group.ephemeral for group in self.groups.values())

    def holders(self) -> dict[str, ModelGroup]:
        """The groups by name, and without one the events that no lasting one has claimed."""
        return self.groups if self.has_lasting_group() else {"": self.unclaimed} | self.groups

    def holding(self, event_id: str) -> Iterator[tuple[str, ModelEntry]]:
        """The groups that hold an event, and its entry there."""
        for name, group in self.holders().items():
            if event_id in group.entries:
                yield name, group.entries[event_id]

    def event_ids(self) -> set[str]:
        """The events that some group holds."""
        return {event_id for group in self.holders().values() for event_id in group.entries}

    def queued(self, partition: int | None = None) -> int:
        """The events that some lasting group holds, not dead, or that wait for one: all, or those in one partition."""
        holders = self.holders()
        return sum(
            any(
                entry.state is not EventState.DEAD and partition in (None, entry.partition)
                for name, entry in self.holding(event_id)
                if not holders[name].ephemeral
            )
            for event_id in self.event_ids()
        )

    def places_with(self, state: EventState) -> list[str]:
        """The groups that have an event in this state."""
        return [name for name, group in self.groups.items() if group.in_state(state)]

    def can_hold(self) -> list[str]:
        """The groups in which something is held, or can be at once."""
        ready = [
            name
            for name in self.places_with(EventState.READY)
            if (group := self.groups[name]).sessions and not group.paused and group.room(self.now_us) > 0
        ]
        return self.places_with(EventState.LEASED) or ready

    def judge(self, group: str, ref: LeaseRef) -> ModelEntry | Failure:
        return self.groups[group].judge(ref) if group in self.groups else Failure({LeaseFailureReason.SETTLED})

    # --- time ---------------------------------------------------------------------------------------------------------

    def pass_time(self, by_us: int) -> None:
        """Due events become ready, and leases run out."""
        self.now_us += by_us
        for group in self.holders().values():
            come = [entry for entry in group.entries.values() if entry.at_us <= self.now_us]
            for entry in [entry for entry in come if entry.state is EventState.SCHEDULED]:
                entry.due_unseen = True
                entry.move(Transition.DUE)
            group.keys.arrange(self.now_us)
            leased = [entry for entry in come if entry.state is EventState.LEASED]
            for entry in sorted(leased, key=lambda entry: (entry.at_us, entry.seq)):
                self._run_out(group, entry)
                group.keys.arrange(self.now_us)

    def next_time(self) -> int | None:
        """When time next changes something: an event is due, a lease runs out, an id is forgotten."""
        waiting = (EventState.SCHEDULED, EventState.LEASED)
        entries = [entry for group in self.holders().values() for entry in group.entries.values()]
        times = [entry.at_us for entry in entries if entry.state in waiting]
        for group in self.holders().values():
            times += group.keys.opens_us(self.now_us)
            if (opens_us := group.opens_us(self.now_us)) < math.inf:
                times.append(int(opens_us))
        times += [group.kept_until_us for group in self.groups.values() if not group.sessions]
        times += [*self._gone.values(), *(until_us for until_us, _, _ in self._answers.values())]
        return min((at_us for at_us in times if at_us > self.now_us), default=None)

    def _run_out(self, group: ModelGroup, entry: ModelEntry) -> None:
        if entry.stalled or not entry.is_suspect:
            entry.free_attempts += 1
            self._end(group, entry, Transition.EXPIRE, AttemptOutcome.EXPIRED)
            entry.last_error = EXPIRED
        else:
            entry.died_unseen = entry.has_failed_for_good
            self._fail(group, entry, EXPIRED, Transition.EXPIRE, AttemptOutcome.EXPIRED)
        if entry.state is EventState.READY:
            group.keys.come_back(entry, min(entry.due_us, self.now_us), self.now_us)

    # --- in -----------------------------------------------------------------------------------------------------------

    def dispatch(self, request: DispatchRequest) -> DispatchAnswer | type[DueBusError] | Partial:
        """The expected answer or error."""
        ids: dict[int, str] = {}
        duplicates: list[str] = []
        refused: dict[int, type[DueBusError]] = {}
        for partition, indexes in self._parts(request).items():
            outcome = self._dispatch_part(request, partition, [request.events[index] for index in indexes])
            if isinstance(outcome, DispatchAnswer):
                ids.update(zip(indexes, outcome.event_ids, strict=True))
                duplicates += outcome.duplicate_event_ids
            else:
                refused[indexes[0]] = outcome
        stored = [ids[index] for index in sorted(ids)]
        if not refused:
            return DispatchAnswer(stored, duplicates)
        cause = refused[min(refused)]
        return Partial(cause, stored) if stored else cause

    def _parts(self, request: DispatchRequest) -> dict[int, list[int]]:
        """The indexes of a request's events by partition."""
        parts: dict[int, list[int]] = defaultdict(list)
        for index, event in enumerate(request.events):
            chosen = event.id if not event.id_is_generated else request.request_id or request.events[0].id
            text = event.key or chosen
            parts[crc32(text.encode()) % self.partitions].append(index)
        return parts

    def _dispatch_part(
        self, request: DispatchRequest, partition: int, events: list[NewEvent]
    ) -> DispatchAnswer | type[DueBusError]:
        chosen = [(event.key, None if event.id_is_generated else event.id) for event in request.events]
        until_us, chosen_then, known = self._answers.get((request.request_id, partition), (0, [], None))
        if known is not None and until_us > self.now_us:
            return known if chosen == chosen_then else RequestIdReused
        if request.require_subscriber and not any(group.sessions for group in self.groups.values()):
            return NoHandlerFound
        fresh, duplicates = self._sort_out(events)
        share = math.ceil(self.config.max_queued / self.partitions)
        if fresh and share and self.queued(partition) + len(fresh) > share:
            return MaxQueuedEventsReached
        if self._blocks_too_many(fresh, replace(self.config, max_queued=share).max_blocked):
            return MaxQueuedEventsReached
        number = next(self._requests)
        for event in fresh:
            self._store(event, partition, number)
        self._arrange()
        answer = DispatchAnswer([event.id for event in events], duplicates)
        if request.request_id:
            until_us = self.now_us + self.config.dedupe_window_us
            self._answers[request.request_id, partition] = (until_us, chosen, answer)
        return answer

    def _blocks_too_many(self, events: list[NewEvent], most: int) -> bool:
        for key in {event.key for event in events if event.key}:
            due = sum(event.key == key and self._due_us(event) <= self.now_us for event in events)
            for group in self.holders().values():
                room = max(0, group.keys.room(key, self.now_us))
                if not group.ephemeral and group.keys.blocked(key) + due - min(due, room) > most:
                    return True
        return False

    def _due_us(self, event: NewEvent) -> int:
        asked_us = event.deliver_at_us if event.delay_us is None else self.now_us + event.delay_us
        return self.now_us if asked_us is None else max(asked_us, self.now_us)

    def _sort_out(self, events: list[NewEvent]) -> tuple[list[NewEvent], list[str]]:
        fresh: dict[str, NewEvent] = {}
        duplicates = []
        held = self.event_ids()
        for event in events:
            if event.id in held or event.id in fresh or self._gone.get(event.id, 0) > self.now_us:
                duplicates.append(event.id)
            else:
                fresh[event.id] = event
        return list(fresh.values()), duplicates

    def _store(self, event: NewEvent, partition: int, request: int) -> None:
        due_us = self._due_us(event)
        retries = self.config.retry_policy.max_retries if event.max_retries is None else event.max_retries
        seq = next(self._seqs)
        for group in self.holders().values():
            entry = group.entries[event.id] = ModelEntry(event, partition, seq, retries, due_us, due_us=due_us)
            entry.request = request
            if due_us <= self.now_us:
                entry.move(Transition.DUE)

    # --- sessions -----------------------------------------------------------------------------------------------------

    def join(self, name: str, session_id: str, *, ephemeral: bool) -> None:
        """The first lasting group takes what waited for it."""
        if name not in self.groups:
            is_first = not ephemeral and not self.has_lasting_group()
            self.groups[name] = self.unclaimed if is_first else ModelGroup(ephemeral=ephemeral)
        self.groups[name].sessions.add(session_id)

    def lease(
        self,
        group: ModelGroup,
        entry: ModelEntry,
        session_id: str,
        fencing_token: int,
        lease_us: int,
        *,
        stalled: bool,
    ) -> None:
        """The engine has handed the event to a session."""
        entry.move(Transition.LEASE)
        group.keys.leased(entry, self.now_us)
        if group.limits.rate is not None:
            group.tat_us = group.limits.rate.begun(group.tat_us, self.now_us, 1)
        entry.attempt += 1
        entry.pinned = entry.event.key != ""
        entry.session_id = session_id
        entry.fencing_token = fencing_token
        entry.stalled = stalled
        entry.at_us = self.now_us + lease_us

    def extend(self, entry: ModelEntry, lease_us: int) -> None:
        """Its holder has extended the lease."""
        entry.stalled = False
        entry.at_us = self.now_us + lease_us

    def leave(self, name: str, session_id: str, ephemeral_us: int) -> None:
        """The session is gone, but keeps its leases."""
        group = self.groups.get(name)
        if group and session_id in group.sessions:
            group.sessions.discard(session_id)
            group.kept_until_us = self.now_us + ephemeral_us

    def restart(self, grace_us: int, ephemeral_us: int) -> None:
        """The engine restarts: every stream breaks, and workers may adopt their leases again.

        It has to notice again what is due and blocked, because it records no step for that.
        """
        self.ended.clear()
        for group in self.groups.values():
            group.sessions.clear()
            group.kept_until_us = self.now_us + ephemeral_us
            for entry in group.in_state(EventState.LEASED):
                entry.at_us = self.now_us + grace_us
            group.keys.restarted()
            group.keys.arrange(self.now_us)
            for entry in group.in_state(EventState.BLOCKED):
                entry.due_unseen = True

    def sweep(self) -> list[str]:
        """Removes ephemeral groups. Returns which."""
        over = [name for name, group in self.groups.items() if group.is_over(self.now_us)]
        for name in over:
            self.delete_group(name)
        return over

    def shorten(self, name: str, session_id: str, grace_us: int) -> None:
        """The session's leases run out soon."""
        if name in self.groups:
            for entry in self.groups[name].held_by(session_id):
                entry.at_us = min(entry.at_us, self.now_us + grace_us)
            self.pass_time(0)

    def adopt(self, entry: ModelEntry, session_id: str, lease_us: int) -> None:
        """Another session takes it over."""
        if entry.session_id != session_id:
            self.ended[entry.session_id].add(entry.fencing_token)
        entry.session_id = session_id
        self.extend(entry, lease_us)

    # --- out ----------------------------------------------------------------------------------------------------------

    def ack(self, group: ModelGroup, entry: ModelEntry) -> None:
        """The event is settled in the group."""
        assert TRANSITIONS[entry.state, Transition.ACK] is None
        self.ended[entry.session_id].add(entry.fencing_token)
        self.remove(group, entry)

    def remove(self, group: ModelGroup, entry: ModelEntry) -> None:
        """The group no longer holds it; its id is remembered once no group does."""
        del group.entries[entry.event.id]
        group.keys.leave(entry)
        group.keys.arrange(self.now_us)
        if entry.event.id not in self.event_ids() and not entry.event.id_is_generated:
            self._gone[entry.event.id] = self.now_us + self.config.dedupe_window_us

    def can_pause(self, group: ModelGroup, entry: ModelEntry, pause: Pause) -> bool:
        """Whether there is something to pause."""
        return pause.scope is PauseScope.GROUP or (entry.event.key != "" and group.keys.policy.slots > 0)

    def pause(self, group: ModelGroup, entry: ModelEntry, pause: Pause) -> None:
        """A nack begins a pause."""
        until_us = self.now_us + pause.duration_us
        if pause.scope is PauseScope.GROUP:
            group.paused_until_us = max(group.paused_until_us, until_us)
        else:
            group.keys.pause(entry, until_us)

    def nack(self, group: ModelGroup, entry: ModelEntry, action: NackAction, delay_us: int, error: str) -> None:
        """The event is nacked."""
        if action is NackAction.RETRY:
            self._fail(group, entry, error, Transition.RETRY, AttemptOutcome.NACKED)
            if entry.state is EventState.SCHEDULED:
                entry.due_at(self.now_us + delay_us)
                group.keys.come_back(entry, entry.due_us, self.now_us)
        elif action is NackAction.DEAD_LETTER:
            self._end(group, entry, Transition.DIE, AttemptOutcome.DEAD)
            entry.last_error = error
        else:
            self._end(group, entry, Transition.RELEASE, AttemptOutcome.RELEASED)
            entry.attempt -= 1
            group.keys.refund(entry, self.now_us)
            if group.limits.rate is not None:
                group.tat_us = group.limits.rate.refunded(group.tat_us, self.now_us)
            group.keys.come_back(entry, min(entry.due_us, self.now_us), self.now_us)
        self._arrange()

    def _arrange(self) -> None:
        for group in self.holders().values():
            group.keys.arrange(self.now_us)

    # --- operators ----------------------------------------------------------------------------------------------------

    def due_at(self, group: ModelGroup, entry: ModelEntry, at_us: int) -> None:
        """A scheduled, ready or blocked event gets a new due time. What was behind it comes in before it does."""
        entry.move(Transition.RESCHEDULE)
        group.keys.leave(entry)
        self._arrange()
        entry.due_at(at_us)
        entry.admitted = not entry.event.key
        if at_us <= self.now_us:
            entry.move(Transition.DUE)
        self._arrange()

    def redrive(self, group: ModelGroup, entry: ModelEntry, at_us: int) -> None:
        """A dead event waits again, with all its retries."""
        entry.move(Transition.REDRIVE)
        entry.attempt = entry.free_attempts = 0
        if group.keys.is_held_by(entry):
            entry.move(Transition.RESCHEDULE)
            group.keys.come_back_in_front(entry, at_us, self.now_us)
            self._arrange()
        else:
            self.due_at(group, entry, at_us)

    def configure(self, group: ModelGroup, policy: KeyPolicy | None, limits: Limits | None) -> None:
        """The group gets another key policy or other limits."""
        if policy is not None:
            group.keys.ever_changed = group.keys.ever_changed or policy != group.keys.policy
            group.keys.policy = policy
        if limits is not None:
            group.limits = limits
        self._arrange()

    def delete_group(self, name: str) -> None:
        """The group is removed with its events."""
        group = self.groups.pop(name)
        for entry in group.in_state(EventState.LEASED):
            self.ended[entry.session_id].add(entry.fencing_token)
        if not group.ephemeral and not self.has_lasting_group():
            self.unclaimed = ModelGroup()
        for entry in list(group.entries.values()):
            self.remove(group, entry)

    def delete(self) -> None:
        """The topic is removed, including its remembered ids."""
        for name in list(self.groups):
            self.delete_group(name)
        self.unclaimed = ModelGroup()
        self._gone.clear()
        self._answers.clear()

    def _fail(
        self, group: ModelGroup, entry: ModelEntry, error: str, transition: Transition, outcome: AttemptOutcome
    ) -> None:
        if entry.has_failed_for_good:
            transition, outcome = Transition.DIE, AttemptOutcome.DEAD
        self._end(group, entry, transition, outcome)
        entry.last_error = error

    def _end(self, group: ModelGroup, entry: ModelEntry, transition: Transition, outcome: AttemptOutcome) -> None:
        entry.move(transition)
        if entry.state is EventState.DEAD:
            group.keys.died(entry)
        entry.history.append(outcome)
        self.ended[entry.session_id].add(entry.fencing_token)
        entry.session_id = ""
