"""RabbitMQ through aio-pika: a durable queue, persistent messages, publisher confirms, acks of several at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aio_pika
from bench.peers.programs.program import Tally, play
from bench.roles.role import begin

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUE = "bench"
ACK_EVERY = 100
"""How many messages one ack settles; fewer when no more are waiting."""


class Sender:
    """Sends messages one by one and awaits their confirmation, a batch of them concurrently."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange

    async def many(self, bodies: Sequence[str]) -> None:
        """Sends all concurrently."""
        await asyncio.gather(*(self.one(text) for text in bodies))

    async def one(self, text: str, delay_s: float = 0) -> None:
        """Returns when the broker has confirmed it. There are no delays."""
        if delay_s:
            raise NotImplementedError("RabbitMQ has no delays without a plugin")
        message = aio_pika.Message(text.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self._exchange.publish(message, routing_key=QUEUE)


async def open_sender(address: str) -> Sender:
    """A channel with confirms, and the queue."""
    channel = await (await aio_pika.connect(address)).channel(publisher_confirms=True)
    await channel.declare_queue(QUEUE, durable=True)
    return Sender(channel.default_exchange)


async def work(address: str, concurrency: int, tally: Tally) -> None:
    """One consumer, with at most this many unacked messages."""
    connection = await aio_pika.connect(address)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=concurrency)
    queue = await channel.declare_queue(QUEUE, durable=True)
    settling = Settling()

    async def handle(message: Any) -> None:
        tally.handle(message.body.decode())
        await settling.add(message)

    await begin()
    await queue.consume(handle)
    await tally.wait()
    await settling.flush()
    await connection.close()


class Settling:
    """Acks that go out together: when enough have come, or when the loop has nothing else to do."""

    def __init__(self) -> None:
        self._newest: Any = None
        self._count = 0

    async def add(self, message: Any) -> None:
        """Record that this message and all before it are handled."""
        self._newest = message
        self._count += 1
        if self._count >= ACK_EVERY:
            await self.flush()
        elif self._count == 1:
            asyncio.get_running_loop().call_later(0.001, lambda: asyncio.ensure_future(self.flush()))

    async def flush(self) -> None:
        """Ack the handled messages."""
        newest, self._newest, self._count = self._newest, None, 0
        if newest is not None:
            await newest.ack(multiple=True)


if __name__ == "__main__":
    play(open_sender, work)
