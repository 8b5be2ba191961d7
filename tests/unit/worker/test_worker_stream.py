"""The stream: its request, how it is resumed, and what ends it."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from duebus._core.enums import ClosingReason, LeaseFailureReason
from duebus.errors import (
    ClientClosed,
    DeadlineExceeded,
    DispatcherNotWorking,
    DueBusError,
    InternalError,
    InvalidArgument,
    NoDispatcherSpecified,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from duebus.worker.settler import ACK_BYTES
from support.fake_bus import FakeBus, deliveries, delivery, failure
from support.workers import HandlerByHand, serving, settle_down, worker_on

if TYPE_CHECKING:
    from duebus._core.delivery import Delivery

BROKEN = Unavailable("connection reset")


def tokens(*many: Delivery) -> list[str]:
    return [each.lease_token for each in many]


async def test_the_stream_has_the_workers_options(bus: FakeBus) -> None:
    worker = worker_on(
        bus,
        engine="redis",
        consumer="billing-1",
        concurrency=10,
        max_in_flight_bytes=1 << 20,
        lease=timedelta(seconds=5),
    )
    worker.add("orders", HandlerByHand(), group="billing")
    async with serving(worker):
        assert (await bus.stream()).request == {
            "topic": "orders",
            "group": "billing",
            "engine": "redis",
            "consumer": "billing-1",
            "max_in_flight": 20,
            "max_in_flight_bytes": 1 << 20,
            "lease": timedelta(seconds=5),
            "held_lease_tokens": [],
            "ephemeral": False,
        }


async def test_an_ephemeral_groups_name_is_used_when_the_worker_reconnects(bus: FakeBus) -> None:
    worker = worker_on(bus, group="billing")
    worker.add("orders", HandlerByHand(), ephemeral=True)
    async with serving(worker):
        first = await bus.stream()
        first.break_off(BROKEN)
        again = await bus.stream()
    assert [(each.request["group"], each.request["ephemeral"]) for each in (first, again)] == [
        ("", True),
        ("named-by-the-server", True),
    ]


@pytest.mark.parametrize(
    ("of_worker", "of_handler", "group", "ephemeral"),
    [
        ({"ephemeral": True}, {}, "", True),
        ({"group": "screens", "ephemeral": True}, {}, "screens", True),
        ({"group": "screens", "ephemeral": True}, {"ephemeral": False}, "default", False),
        ({"group": "billing"}, {"group": "screens", "ephemeral": True}, "screens", True),
        ({"group": "billing"}, {"ephemeral": False}, "billing", False),
    ],
)
async def test_the_group_of_a_handler(
    bus: FakeBus, of_worker: dict[str, Any], of_handler: dict[str, Any], group: str, ephemeral: bool
) -> None:
    worker = worker_on(bus, **of_worker)
    worker.add("orders", HandlerByHand(), **of_handler)
    async with serving(worker):
        request = (await bus.stream()).request
    assert (request["group"], request["ephemeral"]) == (group, ephemeral)


@pytest.mark.parametrize(("prefetch", "window"), [(None, 6), (0, 3), (100, 103), (100_000, 100_000)])
async def test_the_window_covers_running_and_waiting_deliveries(
    bus: FakeBus, prefetch: int | None, window: int
) -> None:
    worker = worker_on(bus, concurrency=3, prefetch=prefetch)
    worker.add("orders", HandlerByHand())
    async with serving(worker):
        assert (await bus.stream()).request["max_in_flight"] == window


async def test_a_worker_of_a_group_with_limits_prefetches_nothing(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=2), HandlerByHand()
    worker.add("orders", handler)
    bus.limited = True
    async with serving(worker):
        first, many = await bus.stream(), deliveries(3)
        first.deliver(*many)
        second = await bus.stream()
        assert [first.request["max_in_flight"], second.request["max_in_flight"]] == [4, 2]
        assert sorted(second.held) == sorted(each.lease_token for each in many)
        assert handler.begun == many[:2]
        for each in many:
            handler.returns(each)
            await settle_down()
        assert sorted(token for call in bus.acks.made for token in call.tokens) == sorted(second.held)
        assert bus.unseen_streams == 0


async def test_no_more_events_are_handled_at_once_than_concurrency_allows(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=2), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        first, second, third, fourth = many = deliveries(4)
        (await bus.stream()).deliver(*many)
        await settle_down()
        assert handler.begun == [first, second]
        handler.returns(second)
        await settle_down()
        assert handler.begun == [first, second, third]
        handler.raises(first, ValueError())
        await settle_down()
        assert handler.begun == [first, second, third, fourth]


async def test_a_broken_stream_is_resumed_at_once_naming_all_leases_still_held(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=2), HandlerByHand()
    worker.add("orders", handler)
    bus.acks.by_hand = True
    async with serving(worker):
        stream, (done, unsent, running, waiting) = await bus.stream(), deliveries(4)
        stream.deliver(done, unsent, running, waiting)
        handler.returns(await handler.begins())
        (await bus.acks.next()).answer()
        handler.returns(await handler.begins())
        await bus.acks.next()
        assert [await handler.begins(), await handler.begins()] == [running, waiting]
        last = delivery()
        stream.deliver(last)
        stream.break_off(BROKEN)
        resumed = await bus.stream()
        assert sorted(resumed.held) == sorted(tokens(unsent, running, waiting, last))
        assert 0.05 <= resumed.opened_at <= 0.12
        assert stream.closed.is_set()
        assert not handler.cancelled
        bus.acks.made[-1].answer()


async def test_a_stream_that_ends_without_closing_is_resumed(bus: FakeBus) -> None:
    worker = worker_on(bus)
    worker.add("orders", HandlerByHand())
    async with serving(worker):
        (await bus.stream())._frames.put_nowait(None)
        assert 0.05 <= (await bus.stream()).opened_at <= 0.12


async def test_the_backoff_grows_to_a_second_never_ends_and_starts_over_after_a_stream(bus: FakeBus) -> None:
    worker = worker_on(bus)
    worker.add("orders", HandlerByHand())
    async with serving(worker):
        stream = await bus.stream()
        bus.refusals = [BROKEN] * 1000
        stream.break_off(BROKEN)
        resumed = await bus.stream()
        moments = [each.opened_at for each in bus.refused]
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert gaps[0] <= 0.24
        assert all(0.8 <= gap <= 1.2 for gap in gaps[6:])
        assert len({round(gap, 6) for gap in gaps[6:]}) > 900
        resumed.break_off(BROKEN)
        assert (await bus.stream()).opened_at - resumed.opened_at <= 0.12


@pytest.mark.parametrize("error", [DeadlineExceeded(), InternalError("log 7"), DueBusError(), BROKEN])
async def test_a_temporary_error_is_retried(bus: FakeBus, error: DueBusError) -> None:
    worker = worker_on(bus)
    worker.add("orders", HandlerByHand())
    bus.refusals = [error]
    async with serving(worker):
        assert (await bus.stream()).opened_at <= 0.12


async def test_the_retry_delay_of_the_server_applies(bus: FakeBus) -> None:
    worker = worker_on(bus)
    worker.add("orders", HandlerByHand())
    bus.refusals = [DispatcherNotWorking("draining", retry_after=timedelta(seconds=7))]
    async with serving(worker):
        assert 7 <= (await bus.stream()).opened_at <= 7.12


@pytest.mark.parametrize(
    "error_type",
    [
        ClientClosed,
        InvalidArgument,
        NoDispatcherSpecified,
        PermissionDenied,
        Unauthenticated,
        Unimplemented,
    ],
)
async def test_an_error_that_a_retry_can_not_fix_stops_the_worker(bus: FakeBus, error_type: type[DueBusError]) -> None:
    worker = worker_on(bus)
    worker.add("orders", HandlerByHand())
    bus.refusals = [error_type("no use")]
    with pytest.raises(error_type, match="no use"):
        await worker.serve()
    assert len(bus.refused) == 1


async def test_ready_raises_the_error_that_stops_the_worker(bus: FakeBus) -> None:
    worker = worker_on(bus)
    worker.add("orders", HandlerByHand())
    bus.refusals = [PermissionDenied("not yours")]
    task = asyncio.create_task(worker.serve())
    with pytest.raises(PermissionDenied):
        await worker.ready()
    await asyncio.wait([task])
    assert isinstance(task.exception(), PermissionDenied)


async def test_the_error_of_one_subscription_drains_the_others_first(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker) as task:
        stream, event = await bus.stream(), delivery()
        stream.deliver(event)
        await handler.begins()
        bus.refusals = [PermissionDenied("not yours")]
        worker.add("secrets", HandlerByHand())
        await stream.closed.wait()
        assert not handler.cancelled
        handler.returns(event)
        with pytest.raises(PermissionDenied, match="not yours"):
            await task
    assert bus.acks.made[0].tokens == tokens(event)


async def test_a_closing_stream_is_resumed_after_the_servers_delay(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        stream, event = await bus.stream(), delivery()
        stream.deliver(event)
        await handler.begins()
        stream.close(reconnect_after=3)
        resumed = await bus.stream()
        assert 3 <= resumed.opened_at <= 3.12
        assert resumed.held == tokens(event)


async def test_a_rebalanced_stream_is_resumed_at_once_every_time_and_logs_no_trouble(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        stream, event = await bus.stream(), delivery()
        stream.deliver(event)
        await handler.begins()
        for _ in range(3):
            stream.close(0, ClosingReason.REBALANCE)
            stream = await bus.stream()
            assert (stream.opened_at, stream.held) == (0, tokens(event))
        assert not handler.cancelled
        handler.returns(event)
    assert [each.getMessage() for each in caplog.records if each.levelno > logging.INFO] == []


@pytest.mark.parametrize("reason", list(ClosingReason))
async def test_a_stream_closed_for_any_reason_is_resumed(bus: FakeBus, reason: ClosingReason) -> None:
    worker = worker_on(bus)
    worker.add("orders", HandlerByHand())
    async with serving(worker):
        (await bus.stream()).close(0, reason)
        assert (await bus.stream()).held == []


async def test_leases_lost_on_resuming_are_dropped(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=2), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        stream, (lost, kept, lost_waiting, kept_waiting) = await bus.stream(), deliveries(4)
        stream.deliver(lost, kept, lost_waiting, kept_waiting)
        await settle_down()
        bus.lost = (lost.lease_token, lost_waiting.lease_token)
        stream.break_off(BROKEN)
        resumed = await bus.stream()
        await settle_down()
        assert handler.cancelled == [lost]
        assert handler.begun == [lost, kept, kept_waiting]
        resumed.break_off(BROKEN)
        assert (await bus.stream()).held == tokens(kept, kept_waiting)
    assert lost.lease_token not in [token for call in bus.nacks.made for token in call.tokens]


async def test_leases_that_do_not_fit_into_the_request_of_a_stream_are_extended_once_it_has_started(
    bus: FakeBus,
) -> None:
    worker, handler = worker_on(bus, lease=30), HandlerByHand()
    worker.add("orders", handler)
    bus.max_request_bytes, bus.disconnect_grace = 3 * ACK_BYTES, 3
    async with serving(worker):
        stream, many = await bus.stream(), deliveries(5)
        stream.deliver(*many)
        await settle_down()
        stream.close(0, ClosingReason.REBALANCE)
        assert (await bus.stream()).held == tokens(*many[:3])
        call = await bus.extensions.next()
        assert (call.at, call.tokens) == (0, tokens(*many))
        assert (await bus.extensions.next()).at == pytest.approx(10)


async def test_what_waits_with_a_lease_that_the_stream_did_not_name_is_not_started_when_that_has_run_out(
    bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker may have the event."""
    passed = 0.0
    for module in ("executor", "freshness", "lease_keeper", "stream"):
        monkeypatch.setattr(f"duebus.worker.{module}.now", lambda: passed)
    worker, handler = worker_on(bus, concurrency=2, lease=30), HandlerByHand()
    worker.add("orders", handler)
    bus.max_request_bytes = 2 * ACK_BYTES
    bus.extensions.by_hand = True
    async with serving(worker):
        stream, (first, second, unnamed) = await bus.stream(), deliveries(3)
        stream.deliver(first, second, unnamed)
        await settle_down()
        passed = 25.0
        stream.close(0, ClosingReason.REBALANCE)
        assert (await bus.stream()).held == tokens(first, second)
        extension = await bus.extensions.next()
        passed = 35.0
        handler.returns(first)
        await settle_down()
        assert handler.begun == [first, second]
        extension.answer(failure(unnamed, LeaseFailureReason.EXPIRED))
        await settle_down()
        assert handler.begun == [first, second]


async def test_while_no_stream_is_open_leases_are_extended_within_the_disconnect_grace(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, lease=30), HandlerByHand()
    worker.add("orders", handler)
    bus.disconnect_grace = 3
    async with serving(worker):
        stream, event = await bus.stream(), delivery()
        stream.deliver(event)
        await handler.begins()
        stream.close(reconnect_after=5)
        for moment in (1, 2, 3, 4, 5):
            call = await bus.extensions.next()
            assert call.tokens == tokens(event)
            assert call.at == pytest.approx(moment)
        await bus.stream()
        first, second = await bus.extensions.next(), await bus.extensions.next()
        assert second.at - first.at == pytest.approx(10)
