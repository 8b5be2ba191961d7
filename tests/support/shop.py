"""A shop whose workers make trouble, as a process of its own: `python -m support.shop ADDRESS` until it is ended.

Orders come in all the time. Billing fails for some of them until they are dead, mail works, and nobody reads payments.
Parcels are in order by customer, and one customer's parcel is held up. It prints "ready" when all of that is so.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duebus import Delivery, NewEvent
from duebus.aio import Client
from duebus.worker import DeadLetter, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duebus import Client as Blocking

FIRST_ORDERS = 60
CARD, TIMEOUT = "the card was declined by the bank", "no answer from payments.internal within 2 s"


async def main(address: str) -> None:
    """Run the shop."""
    async with Client(address) as bus:
        worker = workers(address)
        running = asyncio.create_task(worker.serve())
        await worker.ready()
        await bus.admin.pause_group("stock.changed", "search")
        await bus.dispatch_many("stock.changed", [NewEvent(data={"sku": f"A-{n}"}) for n in range(12)])
        await bus.dispatch_many("payment.made", [NewEvent(data={"order": n, "eur": 40 + n}) for n in range(7)])
        parcels = [NewEvent(data={"parcel": n}, id=f"parcel-{n}", key=f"customer-{n % 2}") for n in range(9)]
        await bus.dispatch_many("parcel.sent", parcels)
        await bus.dispatch("order.reminder", {"order": 7}, delay=timedelta(hours=26))
        for number in range(FIRST_ORDERS):
            await order(bus, number)
        while not await has_dead_letters(bus):
            await order(bus, 1)  # for which nothing fails
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for number in range(FIRST_ORDERS, sys.maxsize):
            await order(bus, number)
            await asyncio.sleep(0.2)
    await running


async def has_dead_letters(bus: Client) -> bool:
    """Whether billing has failed for all of the first orders for which it fails."""
    groups = (await bus.admin.get_topic("order.created")).groups
    return any(each.dead >= FIRST_ORDERS * 3 // 10 for each in groups if each.group == "billing")


async def order(bus: Client, number: int) -> None:
    """Place an order."""
    data = {
        "id": 1_000 + number,
        "customer": f"customer-{number % 9}",
        "eur": 19.9 + number % 40,
        "items": ["A-1", "B-2"],
    }
    await bus.dispatch("order.created", data, attributes={"shop": "berlin"})


def workers(address: str) -> Worker:
    """The shop's workers."""
    worker = Worker(address, consumer="shop-1", concurrency=32)

    @worker.on("order.created", group="billing")
    async def bill(delivery: Delivery) -> None:
        number = delivery.json()["id"]
        if number % 5 == 0:
            raise DeadLetter(CARD)
        if number % 10 == 3:
            raise DeadLetter(TIMEOUT)
        if number % 10 == 7 and delivery.attempt == 1:
            raise ConnectionError(TIMEOUT)

    @worker.on("order.created", group="mail")
    async def mail(delivery: Delivery) -> None:
        await asyncio.sleep(0.02)

    @worker.on("stock.changed", group="search")
    async def index(delivery: Delivery) -> None:
        pass

    @worker.on("parcel.sent", group="tracking")
    async def track(delivery: Delivery) -> None:
        if delivery.event_id == "parcel-0":
            await asyncio.sleep(3_600)  # the carrier does not answer

    return worker


def dead_letters(client: Blocking, topic: str, errors: list[str]) -> None:
    """Dead letters e0, e1 and so on with these errors, in group g."""
    client.dispatch_many(topic, [NewEvent(data={"n": n}, id=f"e{n}") for n in range(len(errors))])
    with client.subscribe(topic, group="g", consumer="worker-1") as subscription:
        for delivery in (next(subscription) for _ in errors):
            error = errors[int(delivery.event_id[1:])]
            client.nack(delivery, error=error, dead_letter=True)


@contextmanager
def open_shop(address: str) -> Iterator[None]:
    """Run the shop on a server."""
    command = [sys.executable, "-m", "support.shop", address]
    here = str(Path(__file__).parents[1])
    process: subprocess.Popen[Any] = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=here
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
