"""What operators did is kept, the latest first, and no more than a thousand of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.actions import KEPT_ACTIONS, Action
from duebus_server.domain.errors import DispatcherNotWorking

if TYPE_CHECKING:
    from support.engines import Harness

ACTION = Action(7, "ops", "ipv4:127.0.0.1:1", "PauseGroup", "orders", "billing", "event 1, key ä", "OK")


async def test_actions_are_kept_with_everything_the_latest_first(harness: Harness) -> None:
    engine = harness.engine
    assert await engine.actions() == []
    await engine.keep_action(ACTION)
    await engine.keep_action(replace(ACTION, at_us=8, identity="", group="", outcome="NOT_FOUND"))

    assert await engine.actions() == [replace(ACTION, at_us=8, identity="", group="", outcome="NOT_FOUND"), ACTION]


async def test_only_the_latest_actions_are_kept(harness: Harness) -> None:
    for number in range(KEPT_ACTIONS + 3):
        await harness.engine.keep_action(replace(ACTION, at_us=number))

    kept = await harness.engine.actions()

    assert [action.at_us for action in kept] == list(range(KEPT_ACTIONS + 2, 2, -1))


async def test_an_engine_that_is_not_started_keeps_no_actions(harness: Harness) -> None:
    with pytest.raises(DispatcherNotWorking):
        await harness.unstarted().keep_action(ACTION)
    with pytest.raises(DispatcherNotWorking):
        await harness.unstarted().actions()
