"""Replicas as separate processes that die, are paused, or come back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support.builders import unique_name
from support.killable_worker import killable_worker
from support.redis_engine import redis_flags
from support.server_process import ServerProcess
from support.wire import SIGNAL_TIMEOUT_S, connect, event, figure, ids, tokens
from support.workers import group_when

if TYPE_CHECKING:
    from duebus.v1 import event_bus_pb2

LEASES = 64
WITHIN_S = 15.0
"""Half a lease; usually the lapse takes most of it."""
LAPSE_S = 3.0

StartReplica = Callable[..., ServerProcess]


def of(frame: event_bus_pb2.SubscribeResponse | None) -> list[event_bus_pb2.Delivery]:
    """The deliveries of a frame."""
    assert frame is not None, "the stream has ended"
    return list(frame.deliveries.deliveries)


@pytest.fixture
def start_replica(start_server: Callable[..., ServerProcess]) -> StartReplica:
    """Starts replicas of one bus on the Redis that tests share."""
    namespace = unique_name("bus")

    def start(*flags: str) -> ServerProcess:
        return start_server(*redis_flags(namespace), *flags)

    return start


async def test_leases_of_a_killed_replica_and_its_worker_reach_another_long_before_they_run_out(
    start_replica: StartReplica,
) -> None:
    first, other = start_replica(), start_replica()
    topic = unique_name()
    names = [f"e{number:02}" for number in range(LEASES)]
    async with connect(first.address) as here, connect(other.address) as there:
        await here.dispatch(topic, *names)
        with killable_worker(first.address, topic, LEASES) as worker:
            assert await worker.held() == names
            idle = await there.subscribe(topic)
            killed = time.monotonic()
            first.kill()
            worker.kill()
            again = await idle.take(LEASES)
            took_s = time.monotonic() - killed
        figure(f"{LEASES} leases of a killed replica were with another after {took_s:.2f} s")
        assert sorted(ids(again)) == names
        assert {delivery.attempt for delivery in again} == {2}
        assert 2 < took_s < WITHIN_S
        assert await there.ack(*again) == []
        assert (await there.topic(topic)).queued == 0


async def test_a_worker_that_moves_to_another_replica_keeps_its_leases_after_its_old_one_died(
    start_replica: StartReplica,
) -> None:
    first, other = start_replica(), start_replica()
    topic = unique_name()
    async with connect(first.address) as here, connect(other.address) as there:
        stream = await here.subscribe(topic, max_in_flight=10)
        await here.dispatch(topic, *(f"e{number}" for number in range(10)))
        held = await stream.take(10)
        first.kill()
        moved = await there.subscribe(topic, max_in_flight=10, held_lease_tokens=tokens(held))
        assert moved.started.lost_lease_tokens == []
        rival = await there.subscribe(topic)
        await there.dispatch(topic, event("marker", delay=LAPSE_S + 1.5))
        assert ids([await rival.one()]) == ["marker"], "nothing else arrives, even long after the lapse"
        assert rival.come() == []
        assert await there.ack(*held) == []


async def test_a_replica_paused_beyond_its_lapse_recovers(start_replica: StartReplica) -> None:
    paused, other = start_replica(), start_replica()
    topic = unique_name()
    async with connect(paused.address) as here, connect(other.address) as there:
        streams = [await here.subscribe(topic, max_in_flight=2) for _ in range(3)]
        await there.dispatch(topic, *(f"e{number}" for number in range(6)))
        held = [delivery for stream in streams for delivery in await stream.take(2)]
        idle = await there.subscribe(topic, max_in_flight=4)
        paused.process.send_signal(signal.SIGSTOP)
        try:
            taken = await idle.take(4)
        finally:
            paused.process.send_signal(signal.SIGCONT)
        assert {delivery.attempt for delivery in taken} == {2}
        failed = {failure.lease_token for failure in await here.ack(*held)}
        assert failed == set(tokens(held)), "all leases were lost in the pause"
        assert await there.ack(*taken) == []
        done = set(ids(taken))
        while len(done) < 6:
            frames = [asyncio.create_task(stream.next_frame()) for stream in (*streams, idle)]
            finished, waiting = await asyncio.wait(
                frames, timeout=SIGNAL_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
            for task in waiting:
                task.cancel()
            assert finished, f"only {sorted(done)} came"
            for task in finished:
                if got := of(task.result()):  # a heartbeat brings none
                    assert await here.ack(*got) == []
                done |= set(ids(got))
        await idle.cancel()
        info = await group_when(there, topic, lambda group: len(group.subscribers) == 3)
        assert (info.ready, info.leased) == (0, 0), "its three sessions are known again"
        await there.dispatch(topic, "after")
        frames = [asyncio.create_task(stream.next_frame()) for stream in streams]
        finished, waiting = await asyncio.wait(frames, timeout=SIGNAL_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        assert [ids(of(task.result())) for task in finished] == [["after"]]


async def test_a_replica_that_stops_cleanly_costs_no_lapse(start_replica: StartReplica) -> None:
    ending, other = start_replica("--drain-timeout", "0s"), start_replica()
    topic = unique_name()
    async with connect(ending.address) as here, connect(other.address) as there:
        stream = await here.subscribe(topic)
        await here.dispatch(topic, "event")
        assert (await stream.one()).attempt == 1
        idle = await there.subscribe(topic)
        ending.process.terminate()
        again = await idle.one()
        assert again.attempt == 1, "given back, so the attempt does not count"
    assert ending.wait() == 0
