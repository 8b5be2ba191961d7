"""The reaper sweeps at its interval, even after failures."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from duebus_server.delivery.reaper import reap
from duebus_server.domain.clock import SECOND, ManualClock
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.states import EventState
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from structlog.testing import capture_logs
from support.engines import START_US
from support.workers import settle_down

if TYPE_CHECKING:
    from unit.delivery.conftest import Bench


class FailingEngine(LocalEngine):
    """An engine whose sweeps fail on demand."""

    sweeps = 0
    error: Exception | None = None

    async def expire_leases(self) -> None:
        """Sweep, or fail."""
        self.sweeps += 1
        if self.error is not None:
            raise self.error


async def test_the_sweep_ends_an_expired_lease(bench: Bench) -> None:
    subscriber = await bench.subscribe(max_events=1, lease_us=SECOND)
    await bench.dispatch("a")
    sweep = asyncio.create_task(reap(bench.engine, bench.clock, 2 * SECOND))
    await settle_down()
    await bench.advance(2 * SECOND)
    assert subscriber.ids == ["a", "a"], "a full session does not lease by itself"
    assert (await bench.group()).counts[EventState.LEASED] == 1
    sweep.cancel()


async def test_sweeps_continue_after_a_failure() -> None:
    clock = ManualClock(START_US)
    engine = FailingEngine(clock, TopicConfig())
    engine.error = DispatcherNotWorking("out of reach")
    sweep = asyncio.create_task(reap(engine, clock, SECOND))
    for swept in range(4):
        await settle_down()
        assert engine.sweeps == swept
        clock.advance(SECOND)
    sweep.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweep


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends() -> None:
    clock = ManualClock(START_US)
    engine = FailingEngine(clock, TopicConfig())
    with capture_logs() as logs:
        sweep = asyncio.create_task(reap(engine, clock, SECOND))
        for error in (None, "away", "away", "still away", None, None, "away"):
            engine.error = DispatcherNotWorking(error) if error else None
            await settle_down()
            clock.advance(SECOND)
        await settle_down()
        sweep.cancel()
    assert [(line["event"], line.get("error")) for line in logs] == [
        ("sweeps fail", "away"),
        ("sweeps work again", None),
        ("sweeps fail", "away"),
    ]


async def test_an_unexpected_error_does_not_end_the_sweeps() -> None:
    clock = ManualClock(START_US)
    engine = FailingEngine(clock, TopicConfig())
    engine.error = RuntimeError("a bug")
    sweep = asyncio.create_task(reap(engine, clock, SECOND))
    for _ in range(3):
        await settle_down()
        clock.advance(SECOND)
    await settle_down()
    assert engine.sweeps == 3
    sweep.cancel()
    with suppress(asyncio.CancelledError):
        await sweep
