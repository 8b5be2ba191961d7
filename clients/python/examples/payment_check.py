"""A delayed check: an order that is not paid within half an hour is cancelled.

    .venv/bin/duebus serve                                          in one shell
    .venv/bin/python clients/python/examples/payment_check.py       in another

Here an order must be paid within one second; `payment_check.py 1800` gives it half an hour.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

from duebus import Delivery, Worker
from duebus.aio import Client

SERVER = os.environ.get("DUEBUS_SERVER", "127.0.0.1:50051")
TIME_TO_PAY = timedelta(seconds=float(sys.argv[1]) if len(sys.argv) > 1 else 1)

worker = Worker()
orders: dict[str, str] = {}  # the shop's database
checked: set[str] = set()


async def place_order(bus: Client, order: str) -> None:
    """Dispatches the check with the order. There is no cron job and no table of timers: the event waits in the bus."""
    orders[order] = "unpaid"
    await bus.dispatch("order.payment-due", {"order": order}, delay=TIME_TO_PAY)
    print(f"{order}: placed, to be checked in {TIME_TO_PAY}")


@worker.on("order.payment-due", group="orders")
async def check_payment(delivery: Delivery) -> None:
    """Called when the event is due: never before, and at most a few milliseconds later."""
    late = (datetime.now(UTC) - delivery.deliver_at) / timedelta(milliseconds=1)
    order = delivery.json()["order"]
    if orders[order] == "unpaid":
        orders[order] = "cancelled"
    print(f"{order}: {orders[order]}, checked {late:.0f} ms after it was due")
    checked.add(order)
    if checked == orders.keys():
        worker.request_stop()  # only because this is an example; a worker runs until SIGTERM or Ctrl-C


async def main() -> None:
    """Places two orders, one of which is paid in time."""
    async with Client(SERVER) as bus:
        await place_order(bus, "order-1")
        orders["order-1"] = "paid"
        await place_order(bus, "order-2")
        await worker.serve(bus)


if __name__ == "__main__":
    asyncio.run(main())
