"""Decoupled domain events: the shop reports what happened, and does not know who listens.

    .venv/bin/duebus serve                                          in one shell
    .venv/bin/python clients/python/examples/domain_events.py       in another

Each group of a topic gets its own copy of each event. Inside a group each event goes to one worker.
"""

import asyncio
import os

from duebus import Delivery, Worker
from duebus.aio import Client

SERVER = os.environ.get("DUEBUS_SERVER", "127.0.0.1:50051")

# Separate services: each would be one or several processes on other machines.
billing = Worker(group="billing")
shipping = Worker(group="shipping")

handled: asyncio.Queue[str] = asyncio.Queue()


@billing.on("order.placed")
async def send_invoice(delivery: Delivery) -> None:
    """Billing's view of the event."""
    order = delivery.json()
    print(f"billing: order {order['id']}, an invoice of {order['total']:.2f} to {order['customer']}")
    await handled.put("invoice")


@shipping.on("order.placed")
async def pack(delivery: Delivery) -> None:
    """Shipping's view of the same event."""
    order = delivery.json()
    print(f"shipping: order {order['id']}, a parcel to {order['customer']}")
    await handled.put("parcel")


async def main() -> None:
    """The shop, and its two listeners."""
    async with Client(SERVER) as bus, asyncio.TaskGroup() as services:
        for service in (billing, shipping):
            services.create_task(service.serve(bus))
            await service.ready()  # its group exists now, so it misses nothing
        for order in ({"id": 7, "customer": "ada", "total": 129.0}, {"id": 8, "customer": "bob", "total": 8.5}):
            await bus.dispatch("order.placed", order)
            print(f"shop: order {order['id']} is placed")
        for _ in range(4):  # two orders, two groups
            await handled.get()
        await asyncio.gather(billing.stop(), shipping.stop())


if __name__ == "__main__":
    asyncio.run(main())
