"""What becomes of an event when its handler returns, raises, or says so."""

import logging
from datetime import timedelta

import pytest
from support.fake_bus import FakeBus, deliveries, delivery

from duebus.errors import InvalidArgument
from duebus.worker import DeadLetter, RetryAfter, Worker


async def test_an_event_whose_coroutine_returns_is_acked(bus: FakeBus, make_worker, serving) -> None:
    worker: Worker = make_worker()
    handled = []

    @worker.on("orders")
    async def handle(each) -> None:
        handled.append(each)

    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]
    assert handled == [event]
    assert not bus.nacks.made
