"""Any engine, driven at random through its verbs, against the model.

After every step: no event is lost, early or in two states, each has one holder, fencing tokens grow, attempts and
counts are right, and every session got the reports that it needs.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import pytest
from duebus_server.domain.errors import NotFound, PartialDispatch
from duebus_server.domain.model import (
    AdoptedLease,
    DispatchAnswer,
    DispatchRequest,
    LeaseFailureReason,
    LeaseRef,
    LeaseRequest,
    NackAction,
    NackRef,
    Reservation,
)
from duebus_server.domain.retry import JITTER
from duebus_server.domain.states import EventState
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from property.comparison import Comparison
from property.model import Model, Partial
from property.model_group import UNKNOWN, ModelEntry
from property.plans import (
    CONFIG,
    EPHEMERAL,
    EPHEMERAL_GRACE_US,
    GRACE_US,
    POLICY,
    TICK,
    EventPlan,
    Jump,
    Member,
    RequestPlan,
    graces,
    jumps,
    lease_requests,
    lease_times,
    members,
    nack_plans,
    plans,
    requests,
    waits,
)
from support.topics import PLENTY, TopicDriver, ids, ref, together

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence

    from duebus_server.domain.errors import DueBusError
    from duebus_server.domain.model import LeaseBatch, LeasedEvent
    from property.model_group import Failure, ModelGroup
    from support.harnesses import OpenHarness

T = TypeVar("T")


class EngineMachine(RuleBasedStateMachine):
    """One topic of an engine, and its model."""

    open_harness: OpenHarness

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.harness = self.run(self.stack.enter_async_context(self.open_harness(CONFIG)))
        self.topic = TopicDriver(self.harness)
        self.run(self.topic.set_partitions())
        self.model = Model(CONFIG, self.harness.partitions)
        self.comparison = Comparison(self.topic, self.model)
        self.given: list[LeaseRef] = []
        self.named: list[RequestPlan] = []
        self.numbers = count()

    def run(self, story: Coroutine[object, object, T]) -> T:
        return self.runner.run(story)

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    @invariant()
    def the_engine_agrees_with_the_model(self) -> None:
        self.run(self.comparison.everything())

    # --- time ---------------------------------------------------------------------------------------------------------

    async def pass_time(self, by_us: int) -> None:
        await self.harness.advance(by_us)
        self.model.pass_time(by_us)

    def jump(self, how: Jump) -> None:
        next_us = self.model.next_time()
        if how is Jump.TICK or (next_us is None and how is not Jump.STAY):
            self.run(self.pass_time(TICK))
        elif how is not Jump.STAY and next_us is not None:
            short_us = self.harness.grain_us if how is Jump.JUST_BEFORE else 0
            self.run(self.pass_time(max(0, next_us - self.model.now_us - short_us)))

    @rule(how=jumps, sweep=st.booleans())
    def time_passes(self, how: Jump, sweep: bool) -> None:
        self.jump(how)
        if sweep:
            self.run(self.topic.engine.expire_leases())
            for group in self.model.sweep():
                self.hears_deleted(group)

    def hears_deleted(self, group: str | None) -> None:
        gone, recorder = (self.topic.name, group), self.harness.recorder
        self.run(recorder.until(lambda: gone in recorder.deletions, f"{gone} deleted"))

    # --- in -----------------------------------------------------------------------------------------------------------

    @rule(drawn=st.lists(requests, min_size=1, max_size=2), named=st.booleans())
    def events_are_dispatched(self, drawn: list[RequestPlan], named: bool) -> None:
        if named:
            drawn = [plan._replace(request_id=f"r{len(self.named) + nth}") for nth, plan in enumerate(drawn)]
            self.named += drawn
        self.dispatch(drawn)

    @precondition(lambda self: self.named)
    @rule(data=st.data(), wait=waits)
    def a_request_is_repeated(self, data: st.DataObject, wait: Jump) -> None:
        plan = data.draw(st.sampled_from(self.named[-5:]), label="request")
        self.jump(wait)
        self.the_engine_agrees_with_the_model()  # so that the engine has noticed dead events and free room
        self.dispatch([plan] * data.draw(st.integers(1, 2), label="times"))

    @precondition(lambda self: self.named)
    @rule(data=st.data(), more=plans)
    def a_request_id_is_used_for_other_events(self, data: st.DataObject, more: EventPlan) -> None:
        plan = data.draw(st.sampled_from(self.named[-5:]), label="request")
        self.dispatch([plan._replace(events=[*plan.events, more])])

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data(), drawn=st.lists(requests, min_size=1, max_size=2), wait=waits)
    def a_dispatch_hands_over(self, data: st.DataObject, drawn: list[RequestPlan], wait: Jump) -> None:
        first, second = self.draw_member(data), self.draw_member(data)
        reserved = {one.group: (one, data.draw(lease_requests, label="room")) for one in (first, second)}
        self.jump(wait)
        self.the_engine_agrees_with_the_model()  # so that the engine has noticed which leases have run out
        before = {
            name: self.model.groups[name].open_to(request)
            for name, (member, request) in reserved.items()
            if self.has_joined(member)
        }
        self.dispatch(drawn, [Reservation(*member, request) for member, request in reserved.values()])
        for name, (member, request) in reserved.items():
            batches = self.harness.recorder.batches[member.session_id]
            if name not in before:
                assert batches == []
            elif batches or self.model.partitions == 1:
                self.check_hand_over(member, request, together(batches), waited=bool(before[name]))

    def check_hand_over(self, member: Member, request: LeaseRequest, batch: LeaseBatch, *, waited: bool) -> None:
        """What was dispatched is leased in its turn; where something waited, over several partitions, some of it."""
        group = self.model.groups[member.group]
        found = ids(batch.events)
        if self.model.partitions == 1:
            possible = [[]] if waited else group.handed_over(request, self.model.now_us)
            assert found in [[entry.event.id for entry in entries] for entries in possible]
            expected = [group.entries[event_id] for event_id in found]
        else:
            expected = [group.entries[event_id] for event_id in found]
            assert len(expected) <= request.max_events
            assert all(entry.state is EventState.READY for entry in expected)
        for entry, leased in zip(expected, batch.events, strict=True):
            assert entry.order_us == UNKNOWN, "it was dispatched in this step"
            assert self.comparison.is_at(leased.deliver_at_us, entry.due_us)
            entry.order_us = leased.deliver_at_us
        self.note_leased(group, member.session_id, request, expected, batch)
        left = bool(group.open_to(request)) and not group.paused and group.room(self.model.now_us) > 0
        assert batch.is_paused == group.paused
        if self.model.partitions == 1:
            assert batch.has_more == left
            self.comparison.batch_said(member.group, batch.next_due_us, batch.suspect_due_us)
        else:
            self.comparison.batch_said_more(member.group, batch.next_due_us, batch.suspect_due_us)

    def dispatch(self, drawn: Sequence[RequestPlan], reservations: Sequence[Reservation] = ()) -> None:
        made = [plan.build(self.model.now_us, self.harness.now_us(), next(self.numbers)) for plan in drawn]
        expected = [self.model.dispatch(request) for request in made]
        requests = [self.for_engine(one) for one in made]
        answers = self.run(self.topic.engine.dispatch(self.topic.name, requests, reservations))
        for answer, wanted in zip(answers, expected, strict=True):
            self.check_answer(answer, wanted)

    def for_engine(self, request: DispatchRequest) -> DispatchRequest:
        """The request with the engine's times."""
        made = [
            event
            if event.deliver_at_us is None
            else replace(event, deliver_at_us=self.comparison.to_engine(event.deliver_at_us))
            for event in request.events
        ]
        return replace(request, events=made)

    @staticmethod
    def check_answer(
        answer: DispatchAnswer | DueBusError, wanted: DispatchAnswer | type[DueBusError] | Partial
    ) -> None:
        if isinstance(wanted, Partial):
            assert isinstance(answer, PartialDispatch)
            assert type(answer.cause) is wanted.cause
            assert list(answer.event_ids) == wanted.event_ids
            return
        if not isinstance(wanted, DispatchAnswer):
            assert type(answer) is wanted
            return
        assert isinstance(answer, DispatchAnswer)
        assert list(answer.event_ids) == list(wanted.event_ids)
        assert sorted(answer.duplicate_event_ids) == sorted(wanted.duplicate_event_ids)

    # --- sessions -----------------------------------------------------------------------------------------------------

    @initialize(waiting=st.lists(plans, max_size=2), first=st.lists(members, max_size=3))
    def some_have_joined(self, waiting: list[EventPlan], first: list[Member]) -> None:
        """Subscribe. The first group may find events that were waiting for it."""
        if waiting:
            self.dispatch([RequestPlan(waiting, "", require_subscriber=False)])
            self.the_engine_agrees_with_the_model()
        for member in first:
            self.run(self.join(member))

    @rule(member=members, joins=st.booleans())
    def a_session_joins_or_leaves(self, member: Member, joins: bool) -> None:
        self.run(self.join(member) if joins else self.leave(member))

    async def join(self, member: Member) -> None:
        ephemeral = member.group == EPHEMERAL
        ephemeral_us = EPHEMERAL_GRACE_US if ephemeral else None
        await self.topic.join(member.session_id, member.group, ephemeral_us=ephemeral_us, grace_us=GRACE_US)
        if member.group not in self.model.groups:
            self.comparison.batch_said(member.group, await self.topic.next_due(member.group))
        self.model.join(member.group, member.session_id, ephemeral=ephemeral)

    @precondition(lambda self: self.harness.can_restart)
    @rule(wait=waits)
    def the_engine_restarts(self, wait: Jump) -> None:
        self.jump(wait)
        self.the_engine_agrees_with_the_model()  # so that the engine has noticed what ran out
        self.run(self.restart())

    async def restart(self) -> None:
        self.topic.engine = await self.harness.restart()
        self.model.restart(GRACE_US, EPHEMERAL_GRACE_US)
        for name in self.model.groups:
            self.comparison.batch_said(name, await self.topic.next_due(name))

    async def leave(self, member: Member) -> None:
        await self.topic.leave(member.session_id, member.group)
        self.model.leave(member.group, member.session_id, EPHEMERAL_GRACE_US)

    @precondition(lambda self: self.model.can_hold())
    @rule(data=st.data(), grace_us=graces, wait=waits)
    def a_session_vanishes(self, data: st.DataObject, grace_us: int, wait: Jump) -> None:
        self.hold_something()
        member = self.draw_member(data)
        self.jump(wait)
        self.run(self.topic.shorten(grace_us, member.session_id, member.group))
        self.model.shorten(member.group, member.session_id, grace_us)

    def draw_member(self, data: st.DataObject) -> Member:
        """Usually a session that has joined or holds something."""
        known = [Member(name, one) for name, group in self.model.groups.items() for one in group.known_sessions()]
        if known and data.draw(st.sampled_from([True, True, True, False]), label="known"):
            return data.draw(st.sampled_from(known), label="member")
        return data.draw(members, label="member")

    def has_joined(self, member: Member) -> bool:
        return member.group in self.model.groups and member.session_id in self.model.groups[member.group].sessions

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data(), request=lease_requests, wait=waits)
    def a_session_leases(self, data: st.DataObject, request: LeaseRequest, wait: Jump) -> None:
        member = self.draw_member(data)
        self.jump(wait)
        if self.has_joined(member):
            self.run(self.lease(*member, request))
        else:
            with pytest.raises(NotFound):
                self.run(self.topic.engine.lease(self.topic.name, *member, request))

    async def lease(self, name: str, session_id: str, request: LeaseRequest) -> None:
        group = self.model.groups[name]
        batch = await self.topic.engine.lease(self.topic.name, name, session_id, request)
        found = ids(batch.events)
        if self.model.partitions == 1:
            expected = group.batch(request, self.model.now_us)
            assert found == [entry.event.id for entry in expected]
        else:
            expected = group.accept(request, found, self.model.now_us)
        self.note_leased(group, session_id, request, expected, batch)
        takes_suspect = request.with_suspect and not any(entry.is_suspect for entry in expected)
        waiting = group.open_to(replace(request, with_suspect=takes_suspect))
        left = bool(waiting) and not group.paused and group.room(self.model.now_us) > 0
        # Of several partitions, the last ones are not asked once there is no more room.
        assert batch.has_more == left or (self.model.partitions > 1 and not left)
        if not left and self.model.partitions == 1:
            assert batch.next_due_us is None or batch.next_due_us > self.harness.now_us()
        assert batch.suspect_due_us is None or not takes_suspect
        self.comparison.batch_said(name, batch.next_due_us, batch.suspect_due_us)

    def note_leased(
        self,
        group: ModelGroup,
        session_id: str,
        request: LeaseRequest,
        expected: Sequence[ModelEntry],
        batch: LeaseBatch,
    ) -> None:
        lease_us = CONFIG.lease_us if request.lease_us is None else request.lease_us
        for entry, leased in zip(expected, batch.events, strict=True):
            assert leased.fencing_token > entry.fencing_token
            self.model.lease(group, entry, session_id, leased.fencing_token, lease_us, stalled=request.stalled)
            self.check_leased(entry, leased)
            self.given.append(ref(leased))

    def check_leased(self, entry: ModelEntry, leased: LeasedEvent) -> None:
        assert leased.body == entry.event.body
        assert (leased.attempt, leased.is_suspect) == (entry.attempt, entry.is_suspect)
        assert leased.deliver_at_us == entry.order_us <= self.harness.now_us()
        assert self.comparison.is_at(leased.lease_expires_us, entry.at_us)
        self.comparison.check_error(leased.last_error, entry)

    # --- leases: those that are held, and those that are stale, foreign or made up ------------------------------------

    def hold_something(self) -> list[str]:
        """The groups with leases; if there are none, a session takes some first."""
        if not self.model.places_with(EventState.LEASED):
            name = self.model.can_hold()[0]
            self.run(self.lease(name, min(self.model.groups[name].sessions), LeaseRequest(3, PLENTY)))
        return self.model.places_with(EventState.LEASED)

    def draw_leases(self, data: st.DataObject) -> tuple[str, list[LeaseRef]]:
        """A group, usually one with leases, and leases to settle there."""
        name = data.draw(st.sampled_from(self.hold_something() * 4 + [*self.model.groups, "unknown"]), label="group")
        group = self.model.groups.get(name)
        held = [LeaseRef(one.event.id, one.fencing_token) for one in group.in_state(EventState.LEASED)] if group else []
        # A token names its partition.
        made_up = [LeaseRef(one.event_id, one.fencing_token + self.model.partitions) for one in held[:2]]
        candidates = held * 3 + self.given[-4:] + made_up + [LeaseRef("never", 1)]
        return name, data.draw(st.lists(st.sampled_from(candidates), min_size=1, max_size=4), label="leases")

    def judged(
        self, name: str, refs: Sequence[LeaseRef], results: Sequence[LeaseFailureReason | AdoptedLease | None]
    ) -> Iterator[tuple[ModelGroup, ModelEntry, int]]:
        """Yields the entries whose lease is valid, with their index. Checks that the engine reports the others.

        The reason may be that from before the call, because another lease in it may have settled the event.
        """
        before = [self.model.judge(name, lease) for lease in refs]
        for index, (lease, result) in enumerate(zip(refs, results, strict=True)):
            verdict = self.model.judge(name, lease)
            if isinstance(verdict, ModelEntry):
                yield self.model.groups[name], verdict, index
            else:
                assert result in verdict or result in self.reasons(before[index])

    @staticmethod
    def reasons(verdict: ModelEntry | Failure) -> Failure:
        return verdict if isinstance(verdict, frozenset) else frozenset()

    @precondition(lambda self: self.model.can_hold())
    @rule(data=st.data(), wait=waits)
    def events_are_acked(self, data: st.DataObject, wait: Jump) -> None:
        group, refs = self.draw_leases(data)
        self.jump(wait)
        results = self.run(self.topic.ack(*refs, group=group))
        for owner, entry, index in self.judged(group, refs, results):
            assert results[index] is None
            self.model.ack(owner, entry)

    @precondition(lambda self: self.model.can_hold())
    @rule(data=st.data(), wait=waits)
    def events_are_nacked(self, data: st.DataObject, wait: Jump) -> None:
        group, refs = self.draw_leases(data)
        self.jump(wait)
        how = data.draw(st.lists(nack_plans, min_size=len(refs), max_size=len(refs)), label="how")
        nacks = [
            NackRef(lease, action, delay_us, f"failure {lease.fencing_token}", pause)
            for lease, (action, delay_us, pause) in zip(refs, how, strict=True)
        ]
        if len({nack.lease.event_id for nack in nacks}) < len(nacks):  # an engine may begin the pause of the second
            nacks = [replace(nack, pause=None) for nack in nacks]
        results = self.run(self.topic.engine.nack(self.topic.name, group, nacks))
        for owner, entry, index in self.judged(group, refs, results):
            nack = nacks[index]
            if nack.pause is not None and not self.model.can_pause(owner, entry, nack.pause):
                assert results[index] is LeaseFailureReason.NO_KEY
                continue
            assert results[index] is None
            if nack.pause is not None:
                self.model.pause(owner, entry, nack.pause)
            self.model.nack(owner, entry, nack.action, nack.delay_us or 0, nack.error)

    @precondition(lambda self: self.model.can_hold())
    @rule(data=st.data(), lease_us=lease_times, wait=waits)
    def leases_are_extended(self, data: st.DataObject, lease_us: int | None, wait: Jump) -> None:
        group, refs = self.draw_leases(data)
        self.jump(wait)
        results = self.run(self.topic.extend(*refs, lease_us=lease_us, group=group))
        for _, entry, index in self.judged(group, refs, results):
            assert results[index] is None
            self.model.extend(entry, CONFIG.lease_us if lease_us is None else lease_us)

    @precondition(lambda self: self.model.can_hold())
    @rule(data=st.data(), lease_us=lease_times, wait=waits)
    def leases_are_adopted(self, data: st.DataObject, lease_us: int | None, wait: Jump) -> None:
        group, refs = self.draw_leases(data)
        sessions = sorted(self.model.groups[group].sessions) if group in self.model.groups else []
        session_id = data.draw(st.sampled_from(sessions * 3 + ["stranger"]), label="session")
        self.jump(wait)
        adoption = self.topic.adopt(session_id, *refs, lease_us=lease_us, group=group)
        if not self.has_joined(Member(group, session_id)):
            with pytest.raises(NotFound):
                self.run(adoption)
            return
        results = self.run(adoption)
        for _, entry, index in self.judged(group, refs, results):
            assert results[index] == AdoptedLease(refs[index].fencing_token, len(entry.event.body), entry.is_suspect)
            self.model.adopt(entry, session_id, CONFIG.lease_us if lease_us is None else lease_us)

    @precondition(lambda self: self.model.can_hold())
    @rule(data=st.data())
    def an_event_is_nacked_and_its_backoff_waited_out(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.hold_something()), label="group")
        entry = data.draw(st.sampled_from(self.model.groups[name].in_state(EventState.LEASED)), label="held")
        self.run(self.back_off(name, entry))

    async def back_off(self, name: str, entry: ModelEntry) -> None:
        lease = LeaseRef(entry.event.id, entry.fencing_token)
        nacked_us = self.harness.now_us()
        assert await self.topic.nack(lease, error="boom", group=name) == [None]
        await self.comparison.wakeups()
        backoff_us = min(POLICY.backoff_max_us, POLICY.backoff_initial_us << (entry.attempt - entry.free_attempts - 1))
        group = self.model.groups[name]
        closed_us = group.keys.closed_until(entry.event.key, self.model.now_us) if entry.event.key else 0
        self.model.nack(group, entry, NackAction.RETRY, backoff_us, "boom")
        if entry.state is EventState.SCHEDULED:
            assert closed_us <= self.model.now_us + backoff_us * (1 - JITTER), "a pause is shorter than a backoff"
            entry.order_us = (await self.topic.group_info(entry.event.id, name)).deliver_at_us
            wait_us = entry.order_us - nacked_us
            entry.at_us = entry.due_us = self.model.now_us + wait_us
            assert backoff_us * (1 - JITTER) <= wait_us <= backoff_us * (1 + JITTER) + self.harness.grain_us
            await self.pass_time(round(backoff_us * (1 + JITTER)) + TICK)
