"""What becomes of an event when its handler returns, raises, or says so."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from duebus.errors import InvalidArgument
from duebus.worker import DeadLetter, Release, RetryAfter
from support.fake_bus import FakeBus, delivery
from support.workers import serving, worker_on

if TYPE_CHECKING:
    from duebus._core.delivery import Delivery
    from duebus._core.model import Nack


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


async def nack_after(bus: FakeBus, error: BaseException, *, attempt: int = 1, retries: int | None = None) -> Nack:
    """How an event is nacked whose handler raises."""
    worker = worker_on(bus)

    @worker.on("orders", retries=retries)
    async def bill(each: Delivery) -> None:
        raise error

    async with serving(worker):
        event = delivery(attempt=attempt)
        (await bus.stream()).deliver(event)
        call = await bus.nacks.next()
    assert call.tokens == [event.lease_token]
    assert not bus.acks.made
    return call.nacks[0]


async def test_an_event_whose_handler_returns_is_acked(bus: FakeBus) -> None:
    worker = worker_on(bus)
    handled = []

    @worker.on("orders")
    async def bill(each: Delivery) -> str:
        handled.append(each)
        return "ignored"

    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]
    assert handled == [event]
    assert not bus.nacks.made


async def test_an_exception_nacks_with_its_type_and_message_and_leaves_the_delay_to_the_topic(bus: FakeBus) -> None:
    nack = await nack_after(bus, ValueError("no such\n   customer"))
    assert nack.error == "ValueError: no such customer"
    assert (nack.delay, nack.dead_letter, nack.release) == (None, False, False)


async def test_an_exception_without_a_message_nacks_with_its_type(bus: FakeBus) -> None:
    assert (await nack_after(bus, TimeoutError())).error == "TimeoutError"


async def test_an_exception_that_cannot_be_printed_nacks_with_its_type(bus: FakeBus) -> None:
    assert (await nack_after(bus, UnprintableError())).error == "UnprintableError"


async def test_a_long_message_is_cut_to_4_kib_between_characters(bus: FakeBus) -> None:
    error = (await nack_after(bus, ValueError("é" * 5000))).error
    assert error.startswith("ValueError: éé")
    assert 4094 <= len(error.encode()) <= 4096


async def test_a_message_that_utf8_cannot_say_is_still_sent(bus: FakeBus) -> None:
    assert (await nack_after(bus, ValueError("bad \ud800 text"))).error == "ValueError: bad ? text"


async def test_retry_after_nacks_with_its_delay(bus: FakeBus) -> None:
    nack = await nack_after(bus, RetryAfter(90, "the bank is closed"))
    assert nack.delay == timedelta(seconds=90)
    assert nack.error == "the bank is closed"


async def test_retry_after_takes_a_timedelta_and_needs_no_reason(bus: FakeBus) -> None:
    nack = await nack_after(bus, RetryAfter(timedelta(minutes=2)))
    assert nack.delay == timedelta(minutes=2)
    assert nack.error == "retry after 120 s"


@pytest.mark.parametrize("delay", [-1, float("nan"), timedelta(days=4000)])
def test_retry_after_refuses_a_delay_out_of_range(delay: float | timedelta) -> None:
    with pytest.raises(InvalidArgument, match="delay"):
        RetryAfter(delay)


async def test_dead_letter_nacks_as_dead_with_its_reason(bus: FakeBus) -> None:
    nack = await nack_after(bus, DeadLetter("malformed order"))
    assert nack.dead_letter
    assert nack.error == "malformed order"


@pytest.mark.parametrize("retries", [None, 0])
async def test_release_gives_the_event_back_whatever_retries_are_left(bus: FakeBus, retries: int | None) -> None:
    nack = await nack_after(bus, Release("not my shard"), retries=retries)
    assert (nack.release, nack.dead_letter, nack.delay, nack.error) == (True, False, None, "")


@pytest.mark.parametrize(("attempt", "dead"), [(1, False), (2, False), (3, True), (4, True)])
async def test_after_two_retries_a_failing_event_is_dead(bus: FakeBus, attempt: int, *, dead: bool) -> None:
    nack = await nack_after(bus, ValueError("again"), attempt=attempt, retries=2)
    assert nack.dead_letter is dead
    assert nack.error == "ValueError: again"


async def test_no_retries_means_dead_at_the_first_failure_even_for_retry_after(bus: FakeBus) -> None:
    nack = await nack_after(bus, RetryAfter(5), retries=0)
    assert nack.dead_letter
    assert nack.delay is None


@pytest.mark.parametrize("error", [asyncio.CancelledError("inner"), SystemExit(3)])
async def test_an_exception_that_would_end_the_worker_is_the_events_failure(bus: FakeBus, error: BaseException) -> None:
    assert (await nack_after(bus, error)).error.startswith(type(error).__name__)


async def test_what_a_handler_sets_in_its_context_is_not_seen_by_the_next(bus: FakeBus) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen = []
    worker = worker_on(bus)

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        seen.append(tenant.get())
        tenant.set(each.event_id)

    async with serving(worker):
        (await bus.stream()).deliver(delivery(), delivery())
        await bus.acks.next()
    assert seen == ["nobody", "nobody"]


async def test_the_log_names_the_event_and_the_handler_but_never_the_payload(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await nack_after(bus, ValueError("no such customer"))
    assert "event-" in caplog.text
    assert "attempt 1, failed: " in caplog.text  # not "to be retried": it may have been the last attempt
    assert "bill: ValueError: no such customer" in caplog.text
    assert "secret payload" not in caplog.text
