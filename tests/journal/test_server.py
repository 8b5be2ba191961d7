"""A server with a data directory that is killed, under load and without, and started again."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING

import grpc
import pytest
from duebus_server.engine.local.journal import Fsync
from support.builders import unique_name
from support.server_process import ServerProcess, assert_untroubled
from support.start import CANNOT_SERVE, WRONG_SETTING, try_to_start
from support.wire import SIGNAL_TIMEOUT_S, Wire, connect, duration, event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from duebus.v1 import event_bus_pb2

KILLS = int(os.environ.get("JOURNAL_KILLS", "5"))
"""How many times the server is killed under load, with each setting of fsync; ``make journal`` kills it 200 times."""


@asynccontextmanager
async def serving(tmp_path: Path, *flags: str) -> AsyncIterator[tuple[ServerProcess, Wire]]:
    """A server on the directory of the test, and a client. It is killed at the end."""
    server = await asyncio.to_thread(
        ServerProcess, tmp_path / "server.log", "--data-dir", str(tmp_path / "data"), *flags
    )
    try:
        async with connect(server.address) as wire:
            yield server, wire
            server.kill()
    finally:
        server.close()


async def test_an_event_survives_a_crash_and_comes_on_time(tmp_path: Path) -> None:
    topic = unique_name()
    async with serving(tmp_path) as (_, wire):
        await wire.dispatch(topic, event("later", delay=duration(3)))
    async with serving(tmp_path) as (_, wire):
        stream = await wire.subscribe(topic)
        delivery = await stream.one()
        due_us, dispatched_us = delivery.deliver_at.ToMicroseconds(), delivery.dispatched_at.ToMicroseconds()
        assert (delivery.event.id, due_us - dispatched_us) == ("later", 3_000_000)


async def test_a_worker_that_comes_again_in_time_keeps_its_leases(tmp_path: Path) -> None:
    topic = unique_name()
    async with serving(tmp_path, "--disconnect-grace", "30s") as (_, wire):
        stream = await wire.subscribe(topic, max_in_flight=2)
        await wire.dispatch(topic, "held", "left")
        held, left = await stream.take(2)
        await wire.dispatch(topic, "waits")  # so that the record of the leases is written, too
    async with serving(tmp_path) as (_, wire):
        again = await wire.subscribe(topic, held_lease_tokens=[held.lease_token, "unknown"])
        assert list(again.started.lost_lease_tokens) == ["unknown"]
        assert await wire.ack(held) == []
        assert await wire.ack(left) == []  # what it did not name waits for it, too
        waits = await again.one()
        assert (waits.event.id, waits.fencing_token > left.fencing_token) == ("waits", True)


class Load:
    """Producers and a worker of one topic, and what they were answered.

    Attributes:
        dispatched: the ids of events whose dispatch was answered.
        acked: the ids of events whose ack was answered.
        delivered: the ids of events that the worker has seen.
        back: the ids of events that came after their ack was answered.
    """

    def __init__(self) -> None:
        self.topic = unique_name()
        self.dispatched: set[str] = set()
        self.acked: set[str] = set()
        self.delivered: set[str] = set()
        self.back: set[str] = set()
        self._numbers = count()
        self._answered = asyncio.Condition()

    async def until_answers(self, how_many: int) -> None:
        """Wait until so many events more were dispatched or acked."""
        aim = self._answers() + how_many
        async with asyncio.timeout(SIGNAL_TIMEOUT_S), self._answered:
            await self._answered.wait_for(lambda: self._answers() >= aim)

    def _answers(self) -> int:
        return len(self.dispatched) + len(self.acked)

    async def _note(self, known: set[str], event_ids: list[str]) -> None:
        async with self._answered:
            known.update(event_ids)
            self._answered.notify_all()

    async def dispatch(self, wire: Wire) -> None:
        """Dispatch one batch after the other."""
        while True:
            event_ids = [str(next(self._numbers)) for _ in range(5)]
            await wire.dispatch(self.topic, *event_ids)
            await self._note(self.dispatched, event_ids)

    async def work(self, wire: Wire) -> None:
        """Ack what comes, many events at once."""
        stream = await wire.subscribe(self.topic)
        async with asyncio.TaskGroup() as acks:
            while True:
                delivery = await stream.one()
                self.delivered.add(delivery.event.id)
                if delivery.event.id in self.acked:
                    self.back.add(delivery.event.id)
                acks.create_task(until_killed(self._ack(wire, delivery)))

    async def _ack(self, wire: Wire, delivery: event_bus_pb2.Delivery) -> None:
        if not await wire.ack(delivery):
            await self._note(self.acked, [delivery.event.id])

    async def drain(self, wire: Wire) -> None:
        """Work until nothing is left."""
        working = asyncio.create_task(self.work(wire))
        async with asyncio.timeout(SIGNAL_TIMEOUT_S + KILLS):
            while (await wire.topic(self.topic)).queued:
                pass  # each check is a round trip
        working.cancel()
        await asyncio.wait((working,))


async def until_killed(work: Awaitable[None]) -> None:
    """Work until the server is gone."""
    try:
        await work
    except* grpc.aio.AioRpcError:
        pass


@pytest.mark.parametrize("fsync", Fsync)
async def test_a_killed_server_loses_nothing_answered_and_brings_nothing_acked_back(
    tmp_path: Path, fsync: Fsync
) -> None:
    load = Load()
    chance = random.Random(1)  # when the server dies
    for _ in range(KILLS):
        async with serving(tmp_path, "--fsync", fsync) as (server, wire), asyncio.TaskGroup() as tasks:
            for work in (load.dispatch, load.dispatch, load.work):
                tasks.create_task(until_killed(work(wire)))
            await load.until_answers(chance.randint(20, 400))
            server.kill()
    async with serving(tmp_path) as (_, wire):
        await load.drain(wire)
    assert load.dispatched - load.delivered == set()
    assert load.back == set()
    assert load.acked
    assert_untroubled((tmp_path / "server.log").read_text())


def test_a_second_server_on_the_directory_says_who_uses_it(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server.log", "--data-dir", str(tmp_path))
    try:
        status, out, err = try_to_start("--data-dir", str(tmp_path))
        who = f"process {server.process.pid} on "
        assert (status, out) == (CANNOT_SERVE, "")
        assert err.startswith(f"duebus: data directory {tmp_path} is in use by {who}")
        assert err.count("\n") == 1
    finally:
        server.close()


def test_a_directory_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    status, out, err = try_to_start("--data-dir", str(file))
    assert (status, out, err) == (CANNOT_SERVE, "", f"duebus: data directory {file}: file exists\n")


def test_a_data_directory_needs_the_engine_local() -> None:
    status, out, err = try_to_start("--data-dir", "somewhere", "--engine", "redis")
    assert (status, out) == (WRONG_SETTING, "")
    assert err == "duebus: data_dir: is a setting of the local engine, which is not among the engines\n"


@pytest.mark.parametrize("durable", [True, False])
def test_a_server_in_memory_says_so_in_its_log(tmp_path: Path, *, durable: bool) -> None:
    server = ServerProcess(tmp_path / "server.log", *(("--data-dir", str(tmp_path)) if durable else ()))
    server.close()
    log = (tmp_path / "server.log").read_text()
    assert log.count("the local engine keeps events in memory") == (not durable)
