"""The table of states matches the drawing above it."""

from __future__ import annotations

import re

from duebus_server.domain import states
from duebus_server.domain.states import TRANSITIONS, EventState, Transition


def test_every_state_can_be_left_and_reached() -> None:
    assert {state for state, _ in TRANSITIONS} == set(EventState)
    # A dispatched event begins as SCHEDULED or READY.
    assert {target for target in TRANSITIONS.values() if target} | {EventState.SCHEDULED} == set(EventState)


def test_every_transition_is_in_the_table() -> None:
    assert {transition for _, transition in TRANSITIONS} == set(Transition)


def test_an_event_can_be_removed_from_any_state_as_drawn() -> None:
    removals = {(state, transition) for (state, transition), target in TRANSITIONS.items() if target is None}

    assert removals == {
        (EventState.SCHEDULED, Transition.CANCEL),
        (EventState.READY, Transition.CANCEL),
        (EventState.BLOCKED, Transition.CANCEL),
        (EventState.LEASED, Transition.ACK),
        (EventState.DEAD, Transition.PURGE),
    }


def test_the_drawing_names_every_state_and_every_transition_an_engine_makes() -> None:
    drawing = (states.__doc__ or "").split("Engines move")[0]
    words = set(re.findall(r"\w+", drawing))

    assert {state.name for state in EventState} <= words
    assert {transition.value for transition in Transition} <= words
