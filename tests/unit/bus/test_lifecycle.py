"""Engines are started and stopped together, or one by one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from duebus_server.bus.engines import Engines, EngineStatus, RunningEngine
from duebus_server.bus.lifecycle import Lifecycle, StoppedEngine
from duebus_server.domain.clock import SECOND, ManualClock
from duebus_server.domain.errors import (
    DispatcherNotWorking,
    DuplicateInitialized,
    NoDispatcherSpecified,
    UnusableStorage,
)
from duebus_server.domain.lease_token import LeaseTokens
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.wire.schedule_codec import ScheduleCodec
from structlog.testing import capture_logs
from support.engines import START_US
from support.workers import settle_down
from unit.bus.conftest import GROUP, LOCAL, REDIS, TOPIC, command

if TYPE_CHECKING:
    from unit.bus.conftest import Bus


def statuses(bus: Bus) -> list[EngineStatus]:
    return [running.status for running in bus.running]


def test_an_engine_can_not_be_run_twice(bus: Bus) -> None:
    with pytest.raises(DuplicateInitialized) as caught:
        Engines([bus.running[0], bus.running[0]])
    assert caught.value.reason == "DUPLICATE_INITIALIZED"


async def test_a_server_can_not_be_started_twice(bus: Bus) -> None:
    with pytest.raises(DuplicateInitialized):
        await bus.lifecycle.start()
    assert statuses(bus) == [EngineStatus.SERVING] * 2


async def test_one_of_two_engines_is_stopped_and_the_other_keeps_working(bus: Bus) -> None:
    await bus.dispatch("a", engines=[LOCAL, REDIS])
    assert await bus.lifecycle.stop([LOCAL], SECOND) == [StoppedEngine(LOCAL, released=0, queued=1)]
    assert statuses(bus) == [EngineStatus.STOPPED, EngineStatus.SERVING]
    assert (bus.not_serving, bus.lifecycle.all_stopped.is_set()) == (0, False)
    with pytest.raises(DispatcherNotWorking):
        await bus.dispatch("b")
    await bus.dispatch("b", engines=[REDIS])

    assert await bus.lifecycle.stop([REDIS], SECOND) == [StoppedEngine(REDIS, released=0, queued=2)]
    assert bus.not_serving >= 1
    assert bus.lifecycle.all_stopped.is_set()


async def test_an_engine_that_can_not_be_closed_does_not_keep_the_process(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop() -> None:
        raise OSError("the disk is away")

    monkeypatch.setattr(bus.running[0].engine, "stop", stop)
    with pytest.raises(OSError, match="the disk is away"):
        await bus.lifecycle.stop([], 0)
    await bus.lifecycle.stop([REDIS], 0)
    assert bus.lifecycle.all_stopped.is_set()


async def test_naming_no_engine_stops_all_and_naming_one_twice_stops_it_once(bus: Bus) -> None:
    assert [each.engine for each in await bus.lifecycle.stop([], 0)] == [LOCAL, REDIS]
    assert [each.engine for each in await bus.lifecycle.stop([REDIS, LOCAL, REDIS], 0)] == [REDIS, LOCAL]


async def test_naming_an_unknown_engine_stops_none(bus: Bus) -> None:
    del bus.engines._running[REDIS]
    with pytest.raises(NoDispatcherSpecified):
        await bus.lifecycle.stop([LOCAL, REDIS], 0)
    assert statuses(bus) == [EngineStatus.SERVING] * 2


async def test_not_serving_is_reported_before_the_drain_is_over(bus: Bus) -> None:
    await bus.dispatch("a")
    async with bus.subscribing.subscribe(command()) as subscription:
        assert await anext(subscription.session.frames())
        stopping = asyncio.create_task(bus.lifecycle.stop([], 10 * SECOND))
        await settle_down()
        assert bus.not_serving == 1
        assert statuses(bus) == [EngineStatus.DRAINING, EngineStatus.STOPPED]
        assert not stopping.done()
        bus.clock.advance(10 * SECOND)
        assert [each.released for each in await stopping] == [1, 0]


async def test_engines_drain_concurrently(bus: Bus) -> None:
    """Two drains of ten seconds take ten seconds."""
    await bus.dispatch("a", engines=[LOCAL, REDIS])
    async with bus.subscribing.subscribe(command()) as one, bus.subscribing.subscribe(command(engine=REDIS)) as other:
        for subscription in (one, other):
            assert await anext(subscription.session.frames())
        stopping = asyncio.create_task(bus.lifecycle.stop([], 10 * SECOND))
        await settle_down()
        bus.clock.advance(10 * SECOND)
        assert [each.released for each in await stopping] == [1, 1]


async def test_concurrent_stops_are_one_drain_with_one_answer(bus: Bus) -> None:
    await bus.dispatch("a")
    async with bus.subscribing.subscribe(command()) as subscription:
        assert await anext(subscription.session.frames())
        stops = [asyncio.create_task(bus.lifecycle.stop([LOCAL], 10 * SECOND)) for _ in range(3)]
        await settle_down()
        stops[0].cancel()  # the first caller gives up
        await settle_down()
        bus.clock.advance(10 * SECOND)
        assert await stops[1] == await stops[2] == [StoppedEngine(LOCAL, released=1, queued=1)]


async def test_sweeps_continue_while_draining_and_end_with_the_engine(bus: Bus) -> None:
    await bus.dispatch("a")
    async with bus.subscribing.subscribe(command(lease_us=2 * SECOND)) as subscription:
        assert await anext(subscription.session.frames())
        stopping = asyncio.create_task(bus.lifecycle.stop([LOCAL], 60 * SECOND))
        for _ in range(4):
            await settle_down()
            bus.clock.advance(SECOND)
        assert [each.released for each in await stopping] == [0], "the lease ran out meanwhile"
    await settle_down()
    assert bus.lifecycle._reapers[LOCAL].cancelled()


class Away(LocalEngine):
    """An engine whose storage is away until the test says otherwise.

    Attributes:
        problem: the error that its start raises.
        tries: how many times it was started.
    """

    problem: DispatcherNotWorking | None = DispatcherNotWorking("the disk is away")
    tries = 0

    async def start(self) -> None:
        """Start, unless there is a problem."""
        self.tries += 1
        if self.problem is not None:
            raise self.problem
        await super().start()


class Waiting:
    """The lifecycle of an engine whose storage is away."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_US)
        self.engine = Away(self.clock, TopicConfig())
        self.running = RunningEngine.of(self.engine, self.clock, ScheduleCodec())
        self.lifecycle = Lifecycle(Engines([self.running]), self.clock, SECOND, lambda _: None, self._not_serving)

    async def _not_serving(self) -> None:
        pass

    async def advance(self, seconds: float) -> None:
        """Move the clock in small steps."""
        for _ in range(round(10 * seconds)):
            self.clock.advance(SECOND // 10)
            await settle_down()


async def test_an_engine_whose_storage_is_unavailable_is_retried_and_logged_once_a_minute() -> None:
    waiting = Waiting()
    with capture_logs() as logs:
        await waiting.lifecycle.start()
        await waiting.advance(150)
        assert waiting.running.status is EngineStatus.STARTING
        assert waiting.running.not_serving() == "the disk is away"
        assert 150 <= waiting.engine.tries <= 155, "once a second, and a little sooner at first"
        waiting.engine.problem = None
        await waiting.advance(1)
        await waiting.lifecycle.wait_started()
    assert waiting.lifecycle.is_started
    assert [line["event"] for line in logs] == [
        *3 * ["an engine is waiting for its storage"],
        "the storage of an engine is available",
    ]
    await waiting.lifecycle.stop([], 0)


async def test_an_engine_whose_storage_is_unusable_is_not_retried() -> None:
    waiting = Waiting()
    await waiting.lifecycle.start()
    waiting.engine.problem = UnusableStorage("the disk is of another machine")
    await waiting.advance(1)
    tries = waiting.engine.tries
    with pytest.raises(UnusableStorage):
        await waiting.lifecycle.wait_started()
    await waiting.advance(5)
    assert waiting.engine.tries == tries
    await waiting.lifecycle.stop([], 0)
    assert waiting.lifecycle.all_stopped.is_set()


async def test_an_engine_that_waits_for_its_storage_can_be_stopped() -> None:
    waiting = Waiting()
    await waiting.lifecycle.start()
    await waiting.lifecycle.stop([], 0)
    await waiting.lifecycle.wait_started()
    assert not waiting.lifecycle.is_started
    assert waiting.running.status is EngineStatus.STOPPED


async def test_a_lease_token_is_not_malformed_because_its_engine_has_not_started(bus: Bus) -> None:
    await bus.dispatch("a", engines=[REDIS])
    (leased,) = await bus.lease(bus.other)
    made_before_a_restart = LeaseTokens({REDIS: bus.token_keys.pop(REDIS)}).of_group(REDIS, TOPIC, GROUP)
    (token,) = made_before_a_restart.mint([leased.event_id], [leased.fencing_token])
    bus.running[1].status = EngineStatus.STARTING
    with pytest.raises(DispatcherNotWorking):
        await bus.settling.ack([token])
