"""The machine with operators that pause, delete, cancel, reschedule, redrive and purge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.administration import DeadLetterFilter, DeadLetterStep
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import ConcurrentModification, DueBusError, NotFound
from duebus_server.domain.states import EventState
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from property.engine_machine import EngineMachine
from property.plans import TICK, Jump, delays, filters, group_limits, key_policies, limits, waits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.domain.rates import KeyPolicy, Limits
    from property.model_group import ModelEntry, ModelGroup
    from property.plans import FilterPlan

    Copies = list[tuple[ModelGroup, ModelEntry]]

WAITING = (EventState.SCHEDULED, EventState.READY, EventState.BLOCKED)


class OperatedMachine(EngineMachine):
    """One topic of an engine with its operators, and its model."""

    # --- groups -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data(), paused=st.booleans())
    def a_group_is_paused_or_resumed(self, data: st.DataObject, paused: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.groups)), label="group")
        self.run(self.topic.pause(name) if paused else self.topic.resume(name))
        self.model.groups[name].paused = paused

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data(), wait=waits)
    def a_group_is_deleted(self, data: st.DataObject, wait: Jump) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.groups)), label="group")
        self.advance_and_sweep(wait)
        assert self.run(self.topic.delete_group(name)) == len(self.model.groups[name].entries)
        self.hears_deleted(name)
        self.model.delete_group(name)

    @precondition(lambda self: self.model.groups and self.model.event_ids())
    @rule(wait=waits)
    def the_topic_is_deleted(self, wait: Jump) -> None:
        self.advance_and_sweep(wait)
        assert self.run(self.topic.delete()) == len(self.model.event_ids())
        self.hears_deleted(None)
        self.model.delete()
        self.run(self.topic.set_partitions())

    @precondition(lambda self: self.model.groups)
    @rule(data=st.data(), policy=key_policies, limits=group_limits, wait=waits)
    def a_group_is_configured(
        self, data: st.DataObject, policy: KeyPolicy | None, limits: Limits | None, wait: Jump
    ) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.groups)), label="group")
        if self.model.partitions > 1:
            limits = None
        self.advance_and_sweep(wait)
        config = self.run(self.topic.configure_group(name, keys=policy, limits=limits))
        self.model.configure(self.model.groups[name], policy, limits)
        group = self.model.groups[name]
        assert (config.keys, config.limits) == (group.keys.policy, group.limits)

    def advance_and_sweep(self, wait: Jump) -> None:
        """Time advances, and the engine notices what has run out."""
        self.jump(wait)
        self.the_engine_agrees_with_the_model()

    # --- events that wait ---------------------------------------------------------------------------------------------

    def draw_copies(self, data: st.DataObject) -> tuple[list[str], str | None, dict[str, Copies]]:
        """Events, a group or all groups, and the selected copies."""
        group = data.draw(st.sampled_from([None, None, *sorted(self.model.groups)]), label="group")
        known = st.sampled_from([*sorted(self.model.event_ids()) * 3, "never"])
        event_ids = data.draw(st.lists(known, min_size=1, max_size=3, unique=True), label="events")
        holders = self.model.holders() if group is None else {group: self.model.groups[group]}
        return event_ids, group, {event_id: self.copies(holders.values(), event_id) for event_id in event_ids}

    @staticmethod
    def copies(groups: Iterable[ModelGroup], event_id: str) -> Copies:
        return [(group, group.entries[event_id]) for group in groups if event_id in group.entries]

    @precondition(lambda self: self.model.event_ids())
    @rule(data=st.data(), wait=waits)
    def events_are_cancelled(self, data: st.DataObject, wait: Jump) -> None:
        event_ids, group, meant = self.draw_copies(data)
        self.advance_and_sweep(wait)
        waiting = {
            event_id: [copy for copy in copies if copy[1].state in WAITING] for event_id, copies in meant.items()
        }

        answer = self.run(self.topic.cancel(*event_ids, group=group))

        assert answer.cancelled == sum(map(bool, waiting.values()))
        assert list(answer.missing_event_ids) == [each for each in event_ids if not meant[each]]
        assert list(answer.leased_event_ids) == [each for each in event_ids if len(waiting[each]) < len(meant[each])]
        for copies in waiting.values():
            for owner, entry in copies:
                self.model.remove(owner, entry)

    @precondition(lambda self: self.model.event_ids())
    @rule(data=st.data(), delay_us=delays, wait=waits)
    def events_are_rescheduled(self, data: st.DataObject, delay_us: int, wait: Jump) -> None:
        event_ids, group, meant = self.draw_copies(data)
        self.advance_and_sweep(wait)
        moved = [copy for copies in meant.values() for copy in copies]
        entries = [entry for _, entry in moved]
        refusals: list[type[DueBusError]] = [NotFound for copies in meant.values() if not copies]
        refusals += [ConcurrentModification for entry in entries if entry.state not in WAITING]
        rescheduling = self.topic.reschedule(*event_ids, delay_us=delay_us, group=group)
        if refusals:
            with pytest.raises(tuple(refusals)):
                self.run(rescheduling)
            return
        assert self.run(rescheduling) == len(event_ids)
        for owner, entry in moved:
            self.model.due_at(owner, entry, self.model.now_us + delay_us)

    # --- dead letters -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.places_with(EventState.DEAD))
    @rule(data=st.data(), plan=filters, limit=limits, spread=st.booleans(), wait=waits)
    def dead_letters_are_redriven(
        self, data: st.DataObject, plan: FilterPlan, limit: int, spread: bool, wait: Jump
    ) -> None:
        name, chosen = self.choose(data, plan, wait)
        entries = self.run(self.chosen_in_order(name, chosen))
        step = DeadLetterStep(limit, rate=SECOND / TICK if spread else 0)
        assert self.run(self.in_steps(name, chosen, step, redrive=True)) == len(entries)
        for index, entry in enumerate(entries):
            self.model.redrive(self.model.groups[name], entry, self.model.now_us + index * TICK * spread)

    @precondition(lambda self: self.model.places_with(EventState.DEAD))
    @rule(data=st.data(), plan=filters, limit=limits, wait=waits)
    def dead_letters_are_purged(self, data: st.DataObject, plan: FilterPlan, limit: int, wait: Jump) -> None:
        name, chosen = self.choose(data, plan, wait)
        entries = self.run(self.chosen_in_order(name, chosen))
        assert self.run(self.in_steps(name, chosen, DeadLetterStep(limit), redrive=False)) == len(entries)
        for entry in entries:
            self.model.remove(self.model.groups[name], entry)

    def choose(self, data: st.DataObject, plan: FilterPlan, wait: Jump) -> tuple[str, DeadLetterFilter]:
        """A group with dead letters, and a filter for some of them."""
        name = data.draw(st.sampled_from(self.model.places_with(EventState.DEAD)), label="group")
        self.advance_and_sweep(wait)
        known = sorted(self.model.groups[name].entries)
        event_ids = [known[index % len(known)] for index in plan.indexes] if known else []
        return name, DeadLetterFilter(list(dict.fromkeys(event_ids)), plan.error, key=plan.key)

    async def chosen_in_order(self, name: str, chosen: DeadLetterFilter) -> list[ModelEntry]:
        """The entries that the filter selects, in the order in which the engine should move them."""
        listed = [info.event_id for info in (await self.topic.page(EventState.DEAD, 1_000, group=name)).events]
        ordered = [event_id for event_id in chosen.event_ids if event_id in listed] if chosen.event_ids else listed
        entries = [self.model.groups[name].entries[event_id] for event_id in ordered]
        entries.sort(key=lambda entry: entry.partition)  # one after the other
        of_key = [entry for entry in entries if chosen.key in ("", entry.event.key)]
        return [entry for entry in of_key if chosen.error_contains in entry.last_error]

    async def in_steps(self, name: str, chosen: DeadLetterFilter, first: DeadLetterStep, *, redrive: bool) -> int:
        """Runs all steps. Returns how many entries were moved."""
        verb = self.topic.redrive if redrive else self.topic.purge
        step: DeadLetterStep | None = first
        moved = 0
        while step is not None:
            progress = await verb(chosen, step, group=name)
            assert progress.moved <= first.limit
            moved += progress.moved
            step = progress.next_step(step)
        return moved
