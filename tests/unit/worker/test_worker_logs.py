"""A worker's log during outages."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from typing import TYPE_CHECKING

import pytest
from duebus.errors import Unavailable
from duebus.worker.outages import Outage
from support.fake_bus import FakeBus, delivery
from support.workers import HandlerByHand, serving, worker_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duebus._core.delivery import Delivery

AWAY = Unavailable("the server can't be reached: connection refused")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_outage_is_logged_at_its_start_every_minute_and_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    outage = Outage("the server is back", clock)
    outage.ended()
    assert caplog.messages == []
    for second in range(180):
        clock.now = float(second)
        outage.failed("failed: %s", second)
    outage.ended()
    outage.ended()
    assert caplog.messages == ["failed: 0", "failed: 60", "failed: 120", "the server is back after 179.0 s"]
    caplog.clear()
    outage.failed("failed: %s", "again")
    assert caplog.messages == ["failed: again"]


async def test_an_unreachable_server_is_logged_once_for_all_topics(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    worker = worker_on(bus)
    for topic in ("orders", "payments"):
        worker.add(topic, HandlerByHand())
    bus.refusals = [AWAY] * 50
    async with serving(worker):
        pass
    (line,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert line.endswith(
        "/default: the stream could not be opened and will be retried: the server can't be reached: connection refused"
    )
    assert caplog.text.count("the server can be reached again after") == 1


async def test_leases_that_could_not_be_extended_are_logged_with_the_reason(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    worker = worker_on(bus, lease=3)
    worker.add("orders", HandlerByHand())
    bus.extensions.by_hand = True
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        await bus.extensions.next()  # is never answered
        (await bus.extensions.next()).fail(AWAY)
        await bus.extensions.next()
    assert "orders/default: 1 leases could not be extended and will be retried: no answer within 3 s" in caplog.text
    assert caplog.text.count("could not be extended") == 1


class Listener(logging.Handler):
    """Unblocks the loop once the log names what blocks it."""

    def __init__(self) -> None:
        super().__init__()
        self.received = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "has blocked the event loop" in record.getMessage():
            self.received.set()


LISTENER = Listener()


@pytest.fixture
def listener() -> Iterator[Listener]:
    LISTENER.received.clear()
    logging.getLogger("duebus.worker").addHandler(LISTENER)
    yield LISTENER
    logging.getLogger("duebus.worker").removeHandler(LISTENER)


def blocks(_: Delivery) -> None:
    LISTENER.received.wait(30)


async def blocks_deep_inside(each: Delivery) -> None:
    blocks(each)


class Blocking:
    async def __call__(self, each: Delivery) -> None:
        blocks(each)


async def blocks_with(_: str, each: Delivery) -> None:
    blocks(each)


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (blocks_deep_inside, "blocks_deep_inside"),
        (Blocking(), "Blocking"),
        (functools.partial(blocks_with, "x"), "blocks_with"),
    ],
)
async def test_a_handler_that_blocks_the_loop_for_longer_than_the_lease_is_named(
    bus: FakeBus, listener: Listener, caplog: pytest.LogCaptureFixture, handler: object, name: str
) -> None:
    worker = worker_on(bus, lease=0.1)
    worker.add("orders", handler)  # type: ignore[arg-type]
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        await bus.acks.next()
        while "is running again" not in caplog.text:  # noqa: ASYNC110 - logged by the watchdog's thread
            await asyncio.sleep(0)
    assert f"the handler {name} has blocked the event loop for 0.1 s, at " in caplog.text


@pytest.mark.real_time
async def test_a_loop_that_is_not_blocked_is_not_reported(bus: FakeBus, caplog: pytest.LogCaptureFixture) -> None:
    worker, handler = worker_on(bus, lease=2), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        event = await handler.begins()
        await bus.extensions.next()
        await bus.extensions.next()
        handler.returns(event)
    assert "blocked" not in caplog.text
