"""NATS JetStream through nats-py: a stream in files, a durable pull consumer with explicit acks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import nats
from bench.peers.programs.program import HEAD, Tally, play
from bench.roles.role import begin
from nats.errors import TimeoutError as NothingCame
from nats.js import api

if TYPE_CHECKING:
    from collections.abc import Sequence

STREAM, READY, LATER = "BENCH", "bench.ready", "bench.later"


async def open_stream(address: str) -> tuple[Any, Any]:
    """Connects and creates the stream, whose messages are removed when they are acked."""
    connection = await nats.connect(address, pending_size=64 * 1024 * 1024)
    jetstream = connection.jetstream(publish_async_max_pending=4_000)
    await jetstream.add_stream(
        name=STREAM,
        subjects=[READY, f"{LATER}.*"],
        storage=api.StorageType.FILE,
        retention=api.RetentionPolicy.WORK_QUEUE,
        allow_msg_schedules=True,
    )
    return connection, jetstream


class Sender:
    """Sends messages and awaits the stream's acknowledgement of each, a batch of them concurrently."""

    def __init__(self, jetstream: Any) -> None:
        self._jetstream = jetstream

    async def many(self, bodies: Sequence[str]) -> None:
        """`publish_async` of all, then their acknowledgements."""
        await asyncio.gather(*[await self._jetstream.publish_async(READY, text.encode()) for text in bodies])

    async def one(self, text: str, delay_s: float = 0) -> None:
        """Returns when the stream has it. Delayed ones use a schedule with one time, each under its own subject."""
        if delay_s:
            due = (datetime.now(UTC) + timedelta(seconds=delay_s)).isoformat().replace("+00:00", "Z")
            headers = {"Nats-Schedule": f"@at {due}", "Nats-Schedule-Target": READY}
            subject = f"{LATER}.{text[:HEAD].replace('.', '-')}"
            await self._jetstream.publish(subject, text.encode(), headers=headers)
        else:
            await self._jetstream.publish(READY, text.encode())


async def open_sender(address: str) -> Sender:
    """On the stream."""
    _, jetstream = await open_stream(address)
    return Sender(jetstream)


async def work(address: str, concurrency: int, tally: Tally) -> None:
    """Fetch as many as are there, handle each, ack each."""
    connection, jetstream = await open_stream(address)
    config = api.ConsumerConfig(
        durable_name="bench", ack_policy=api.AckPolicy.EXPLICIT, filter_subject=READY, max_ack_pending=10 * concurrency
    )
    subscription = await jetstream.pull_subscribe(READY, durable="bench", stream=STREAM, config=config)
    await begin()
    while not tally.done.is_set():
        try:
            messages = await subscription.fetch(min(concurrency, 500), timeout=1)
        except (NothingCame, TimeoutError):  # the library raises either
            continue
        for message in messages:
            tally.handle(message.data.decode())
            await message.ack()
    await connection.flush()
    await connection.close()


if __name__ == "__main__":
    play(open_sender, work)
