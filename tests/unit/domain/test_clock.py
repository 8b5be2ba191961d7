"""The bus's clocks."""

from __future__ import annotations

import asyncio
import time

import pytest
from duebus_server.domain.clock import (
    MILLISECOND,
    MINUTE,
    SECOND,
    Clock,
    ManualClock,
    ManualTimer,
    SystemClock,
    sleep_until,
)

HOUR_S = 3_600
START_US = 1_767_225_600_000_000


# --- the system's clock -----------------------------------------------------------------------------------------------


def test_the_system_clock_starts_from_the_hosts_time() -> None:
    before_us = time.time_ns() // 1_000
    now_us = SystemClock().now_us()
    after_us = time.time_ns() // 1_000

    assert before_us - MILLISECOND <= now_us <= after_us + MILLISECOND


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
def test_the_system_clock_ignores_adjustments_of_the_hosts_time(monkeypatch: pytest.MonkeyPatch, jump_s: int) -> None:
    clock = SystemClock()
    before_us = clock.now_us()
    real_ns, real_s = time.time_ns, time.time
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + jump_s * 1_000_000_000)
    monkeypatch.setattr(time, "time", lambda: real_s() + jump_s)

    after_us = clock.now_us()

    assert before_us <= after_us < before_us + MINUTE


def test_the_system_clock_keeps_counting_through_suspend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: START_US * 1_000)
    since_boot_ns = {time.CLOCK_BOOTTIME: 5_000_000_000}
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock_id: since_boot_ns[clock_id])
    clock = SystemClock()
    assert clock.now_us() == START_US

    since_boot_ns[time.CLOCK_BOOTTIME] = 7_500_001_999

    assert clock.now_us() == START_US + 2_500_001


def test_the_system_clock_reads_the_hosts_clock_as_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    monkeypatch.setattr(time, "time_ns", lambda: 7_999)
    assert clock.host_us() == 7


async def test_the_system_clock_calls_back_in_time_and_never_before() -> None:
    clock = SystemClock()
    called_us: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    at_us = clock.now_us() + 20 * MILLISECOND

    clock.call_at(at_us, lambda: called_us.set_result(clock.now_us()))

    assert at_us <= await called_us < at_us + 5 * SECOND


async def test_a_timer_in_the_past_is_called_at_once_but_not_within_the_call() -> None:
    clock = SystemClock()
    called = asyncio.Event()

    clock.call_at(clock.now_us() - MINUTE, called.set)

    assert not called.is_set()
    async with asyncio.timeout(30):
        await called.wait()


async def test_a_cancelled_timer_of_the_system_clock_is_not_called() -> None:
    clock = SystemClock()
    cancelled, later = asyncio.Event(), asyncio.Event()
    at_us = clock.now_us() + MILLISECOND

    clock.call_at(at_us, cancelled.set).cancel()
    clock.call_at(at_us + MILLISECOND, later.set)

    await later.wait()
    assert not cancelled.is_set()


# --- the tests' clock -------------------------------------------------------------------------------------------------


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(START_US)
    assert clock.now_us() == START_US

    clock.advance(30 * MINUTE)

    assert clock.now_us() == START_US + 30 * MINUTE


def test_a_manual_clock_does_not_go_back() -> None:
    clock = ManualClock(START_US)

    with pytest.raises(ValueError, match="a clock can't go back"):
        clock.advance(-1)

    assert clock.now_us() == START_US


def test_timers_run_in_the_order_of_their_times_each_at_its_own() -> None:
    clock = ManualClock(START_US)
    called: list[tuple[str, int]] = []
    for name, in_us in [("c", 30), ("a", 10), ("b", 20), ("a too", 10)]:
        clock.call_at(START_US + in_us, lambda name=name: called.append((name, clock.now_us() - START_US)))  # type: ignore[misc]

    clock.advance(25)

    assert called == [("a", 10), ("a too", 10), ("b", 20)]
    assert clock.now_us() == START_US + 25
    clock.advance(5)
    assert called[3:] == [("c", 30)]


def test_a_timer_runs_at_its_microsecond_and_once() -> None:
    clock = ManualClock(START_US)
    called: list[int] = []
    clock.call_at(START_US + 10, lambda: called.append(clock.now_us()))

    clock.advance(9)
    assert called == []

    clock.advance(1)
    clock.advance(100)
    assert called == [START_US + 10]


def test_a_timer_may_set_the_next_one() -> None:
    clock = ManualClock(START_US)
    called: list[int] = []

    def tick() -> None:
        called.append(clock.now_us() - START_US)
        clock.call_at(clock.now_us() + 10, tick)

    clock.call_at(START_US + 10, tick)
    clock.advance(35)

    assert called == [10, 20, 30]


def test_a_timer_in_the_past_is_called_with_the_next_move() -> None:
    clock = ManualClock(START_US)
    called: list[int] = []
    clock.call_at(START_US - MINUTE, lambda: called.append(clock.now_us()))
    assert called == []

    clock.advance(0)

    assert called == [START_US]


def test_a_cancelled_timer_of_a_manual_clock_is_not_called() -> None:
    clock = ManualClock(START_US)
    called: list[str] = []
    first = clock.call_at(START_US + 10, lambda: called.append("first"))
    clock.call_at(START_US + 10, lambda: called.append("second"))

    first.cancel()
    first.cancel()
    clock.advance(10)

    assert called == ["second"]


def test_a_suspended_manual_clock_calls_back_after_it_was_awake_long_enough() -> None:
    clock = ManualClock(START_US)
    called: list[int] = []
    clock.call_at(START_US + 10, lambda: called.append(clock.now_us()))

    clock.sleep(MINUTE)

    assert (clock.now_us(), called) == (START_US + MINUTE, [])
    clock.advance(10)
    assert called == [START_US + MINUTE + 10]


def test_setting_the_host_clock_moves_no_timer() -> None:
    clock = ManualClock(START_US)
    called: list[int] = []
    clock.call_at(START_US + 10, lambda: called.append(clock.now_us()))

    clock.set_host(MINUTE)

    assert (clock.now_us(), clock.host_us()) == (START_US, START_US + MINUTE)
    clock.advance(10)
    assert called == [START_US + 10]


# --- both -------------------------------------------------------------------------------------------------------------


async def test_sleeping_ends_when_the_clock_reaches_the_time() -> None:
    clock = ManualClock(START_US)
    sleep = asyncio.create_task(sleep_until(clock, START_US + MINUTE))
    await asyncio.sleep(0)

    clock.advance(MINUTE - 1)
    await asyncio.sleep(0)
    assert not sleep.done()

    clock.advance(1)
    await sleep


async def test_a_sleep_that_is_cancelled_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(START_US)
    cancelled: list[ManualTimer] = []

    def cancel(timer: ManualTimer) -> None:
        cancelled.append(timer)

    monkeypatch.setattr(ManualTimer, "cancel", cancel)
    sleep = asyncio.create_task(sleep_until(clock, START_US + MINUTE))
    await asyncio.sleep(0)
    assert not cancelled

    sleep.cancel()

    with pytest.raises(asyncio.CancelledError):
        await sleep
    assert len(cancelled) == 1


@pytest.mark.parametrize("make", [SystemClock, lambda: ManualClock(START_US)])
def test_both_implement_clock(make: type[SystemClock]) -> None:
    clock: Clock = make()
    assert clock.now_us() <= clock.now_us()
