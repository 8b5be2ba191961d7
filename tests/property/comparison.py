"""Compares an engine's topic with its model: everything that is visible from outside must match."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from duebus_server.domain.errors import NotFound
from duebus_server.domain.states import EventState
from duebus_server.domain.views import MAX_HISTORY, AttemptOutcome, KeyInfo
from property.model import EXPIRED, Model
from property.model_group import UNKNOWN, ModelEntry, ModelGroup

if TYPE_CHECKING:
    from duebus_server.domain.views import EventGroupInfo, GroupInfo
    from support.topics import TopicDriver


class Comparison:
    """Checks that the engine agrees with the model; each check raises AssertionError if it does not.

    Attributes:
        reported_us: for each group, the earliest time at which a waiting session would lease, from the last batch and
            the watcher's reports.
    """

    def __init__(self, topic: TopicDriver, model: Model) -> None:
        self.reported_us: dict[str, float] = {}
        self._topic = topic
        self._model = model
        self._harness = topic.harness
        self._start_us = topic.harness.now_us()

    def is_at(self, engine_us: int | None, model_us: int) -> bool:
        """Whether a time of the engine matches one of the model."""
        return self._harness.near(self._start_us + model_us)(engine_us)

    def to_engine(self, model_us: int) -> int:
        """Converts a time of the model to the engine's clock."""
        return self._start_us + model_us

    async def everything(self) -> None:
        """Runs all checks. Wake-ups come first, because inspecting a topic may wake sessions."""
        await self.wakeups()
        await self._next_due()
        await self._learn()
        await self._topic_and_groups()
        await self._each_event()
        await self._ended()
        self._harness.recorder.forget()

    # --- wake-ups -----------------------------------------------------------------------------------------------------

    def batch_said(self, group: str, *dues_us: int | None) -> None:
        """The session that leased knows when it or another session must try again; older reports are forgotten."""
        self._harness.recorder.dues = [due for due in self._harness.recorder.dues if due.group != group]
        self.reported_us[group] = min((due_us for due_us in dues_us if due_us is not None), default=math.inf)

    def batch_said_more(self, group: str, *dues_us: int | None) -> None:
        """As ``batch_said``, by some partitions: what others have said counts on."""
        dues = [due_us for due_us in dues_us if due_us is not None]
        self.reported_us[group] = min(self.reported_us[group], *dues, math.inf)

    async def wakeups(self) -> None:
        """Nothing becomes due without a report."""
        for group, members in self._model.groups.items():
            due_us = await self._topic.next_due(group)
            self._keep_reports(group)  # also while its limits let it lease nothing: they count afterwards
            if due_us is not None and (opens_us := self._opens_us(members)) is not None:
                due_us = max(due_us, opens_us)
                await self._harness.recorder.until(partial(self._knows, group, due_us), f"{group} due at {due_us}")

    def _opens_us(self, group: ModelGroup) -> int | None:
        """When its limits let a group lease, by the engine's clock; None if that takes the end of a lease."""
        opens_us = group.opens_us(self._model.now_us)
        return None if opens_us == math.inf else self.to_engine(int(opens_us))

    def _keep_reports(self, group: str) -> None:
        dues_us = [due.at_us for due in self._harness.recorder.dues if due.group == group]
        self.reported_us[group] = min([self.reported_us[group], *dues_us])

    def _knows(self, group: str, due_us: int) -> bool:
        self._keep_reports(group)
        return self.reported_us[group] <= max(due_us, self._harness.now_us())

    async def _next_due(self) -> None:
        for name, group in self._model.groups.items():
            due_us = await self._topic.next_due(name)
            if group.paused:
                assert due_us is None
            elif group.room(self._model.now_us) == 0:
                continue  # what an engine shows to the harness may leave out its limits; a lease tells
            elif group.in_state(EventState.READY):
                assert due_us is not None
                assert due_us <= self._harness.now_us()
            else:
                waiting = group.in_state(EventState.SCHEDULED) + group.in_state(EventState.LEASED)
                expected_us = min((entry.at_us for entry in waiting), default=None)
                # A lease that ran out for the last time, and what is due and blocked, stay due until the engine checks.
                unseen = any(
                    entry.died_unseen or (entry.due_unseen and entry.state is EventState.BLOCKED)
                    for entry in group.entries.values()
                )
                if group.keys.ever_changed or group.keys.opens_us(self._model.now_us):
                    assert expected_us is None or (due_us is not None and due_us <= self.to_engine(expected_us))
                else:
                    assert unseen or (due_us is None if expected_us is None else self.is_at(due_us, expected_us))

    async def _ended(self) -> None:
        """Each session gets reports of its own ended leases, and of no others."""
        ended, reported = self._model.ended, self._harness.recorder.ended
        for session_id, tokens in ended.items():
            await self._harness.recorder.until_ended(session_id, *tokens)
        for session_id, reported_tokens in reported.items():
            held = {entry.fencing_token for group in self._model.groups.values() for entry in group.held_by(session_id)}
            assert not held & (set(reported_tokens) - ended[session_id]), (
                f"{session_id} still holds a lease that was reported as ended"
            )
        ended.clear()

    async def _learn(self) -> None:
        """Record the due time that the engine reports for a dispatched or returned event, if it is right."""
        for name, group in self._model.holders().items():
            for entry in group.entries.values():
                if entry.order_us == UNKNOWN:
                    reported_us = (await self._topic.group_info(entry.event.id, name)).deliver_at_us
                    assert self.is_at(reported_us, entry.due_us)
                    entry.order_us = reported_us

    # --- what there is ------------------------------------------------------------------------------------------------

    async def _topic_and_groups(self) -> None:
        assert await self._topic.engine.queued() >= self._model.queued()
        try:
            topic = await self._topic.engine.get_topic(self._topic.name)
        except NotFound:
            assert not self._model.groups
            assert not self._model.event_ids()
            return
        for group in self._model.holders().values():
            for entry in group.entries.values():
                entry.died_unseen = entry.due_unseen = False
        assert topic.queued == self._model.queued() == await self._topic.engine.queued()
        shown = {info.group: info for info in topic.groups}
        assert shown.keys() - {""} == self._model.groups.keys()
        for name, info in shown.items():
            self._group(info, self._model.holders()[name])
            await self._lists(name, self._model.holders()[name])
            await self._keys(name, self._model.holders()[name])
        if not shown:
            assert not self._model.event_ids()

    def _group(self, info: GroupInfo, group: ModelGroup) -> None:
        assert info.paused == group.paused
        assert (info.limits, info.keys) == (group.limits, group.keys.policy)
        assert (info.throttled_until_us is None) == (group.room(self._model.now_us) > 0)
        assert info.counts == {state: len(group.in_state(state)) for state in EventState}
        in_flight = {subscriber.session_id: subscriber.in_flight for subscriber in info.subscribers}
        assert in_flight == {session_id: len(group.held_by(session_id)) for session_id in group.sessions}
        ready = group.in_state(EventState.READY)
        oldest_us = min((entry.order_us for entry in ready), default=None)
        if oldest_us is None:
            assert info.oldest_ready_age_us is None
        else:
            self._is_age(info.oldest_ready_age_us, oldest_us)
        blocked = group.in_state(EventState.BLOCKED)
        if blocked:
            self._is_age(info.oldest_blocked_age_us, min(entry.order_us for entry in blocked))
        else:
            assert info.oldest_blocked_age_us is None

    def _is_age(self, age_us: int | None, since_us: int) -> None:
        assert self._harness.near(self._harness.now_us() - since_us - self._harness.grain_us + 1)(age_us)

    async def _each_event(self) -> None:
        for event_id in self._model.event_ids():
            event = await self._topic.engine.get_event(self._topic.name, event_id)
            expected = dict(self._model.holding(event_id))
            assert {info.group for info in event.groups} == expected.keys()
            for info in event.groups:
                self._event(info, expected[info.group])

    def _event(self, info: EventGroupInfo, entry: ModelEntry) -> None:
        assert info.state is entry.state
        assert (info.attempts, info.free_attempts) == (entry.attempt, entry.free_attempts)
        assert info.max_retries == entry.max_retries
        self.check_error(info.last_error, entry)
        leased = entry.state is EventState.LEASED
        outcomes = entry.history + [AttemptOutcome.UNDER_WAY] * leased
        assert [attempt.outcome for attempt in info.history] == outcomes[-MAX_HISTORY:]
        assert self.is_at(info.lease_expires_us, entry.at_us) if leased else info.lease_expires_us is None
        assert info.deliver_at_us == entry.order_us
        group = self._model.holders()[info.group]
        is_blocked = entry.state is EventState.BLOCKED
        assert info.waits_for in (group.keys.waits_for(entry.event.key) if is_blocked else {""})

    async def _lists(self, name: str, group: ModelGroup) -> None:
        """Each state lists exactly its events, and no event is in two states."""
        for state in EventState:
            expected = [entry.event.id for entry in group.in_state(state)]
            listed = [event.event_id for event in (await self._topic.page(state, 1_000, group=name)).events]
            assert sorted(listed) == sorted(expected)
            for key in group.keys.names():
                of_key = [event_id for event_id in listed if group.entries[event_id].event.key == key]
                page = await self._topic.page(state, 1_000, group=name, key=key)
                assert [event.event_id for event in page.events] == of_key
            if state in (EventState.SCHEDULED, EventState.READY, EventState.BLOCKED):
                # Events of the same time are in the order of dispatch within each partition.
                indexes = {event_id: index for index, event_id in enumerate(listed)}
                entries = sorted(group.in_state(state), key=lambda entry: (entry.order_us, indexes[entry.event.id]))
                assert listed == [entry.event.id for entry in entries]
                for partition in range(self._model.partitions):
                    own = [entry.event.id for entry in group.in_state(state) if entry.partition == partition]
                    assert [event_id for event_id in listed if event_id in own] == own

    async def _keys(self, name: str, group: ModelGroup) -> None:
        """The keys are listed with their heads, the most blocked first."""
        found = (await self._topic.keys(group=name)).keys
        assert [key.blocked for key in found] == sorted((key.blocked for key in found), reverse=True)
        expected = {
            key: slots
            for key in group.keys.names()
            if (slots := group.keys.with_slots(key)) or group.keys.blocked(key) or group.keys.holds(key)
        }
        shown = {key.key: key for key in found}
        assert len(found) == len(shown)
        assert expected.keys() == shown.keys()
        for key, slots in expected.items():
            self._key(shown[key], group, slots)

    def _key(self, info: KeyInfo, group: ModelGroup, slots: list[ModelEntry]) -> None:
        keys, now_us = group.keys, self._model.now_us
        assert info.blocked == keys.blocked(info.key)
        assert info.in_flight == sum(entry.state is EventState.LEASED for entry in slots)
        assert info.head_event_id in keys.waits_for(info.key), (info, slots, keys.get(info.key), keys.policy)
        assert info.held == keys.holds(info.key)
        closed_us = keys.closed_until(info.key, now_us)
        if closed_us > now_us:
            assert self.is_at(info.opens_at_us, closed_us)
        else:
            assert info.opens_at_us is None

    @staticmethod
    def check_error(error: str, entry: ModelEntry) -> None:
        """The last error is the model's."""
        assert EXPIRED in error if entry.last_error == EXPIRED else error == entry.last_error
