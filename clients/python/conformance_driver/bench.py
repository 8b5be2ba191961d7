"""The program that tests/bench/clients.py measures: callers that dispatch single events, and a worker that drains them.

The other clients have the same program. It takes its arguments as JSON, prints `ready` before and after each part,
waits for a line on standard input each time, and prints its result as JSON.
"""

import asyncio
import json
import sys
import time
from typing import Any

from duebus import Delivery, Worker
from duebus.aio import Client


async def dispatch(client: Client, topic: str, data: bytes, events: int, callers: int) -> float:
    """Each caller dispatches one event after the other, until there are enough. Returns how many a second."""
    left = iter(range(events))

    async def caller() -> None:
        for _ in left:
            await client.dispatch(topic, data)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return events / (time.perf_counter() - began)


async def drain(client: Client, topic: str, events: int, max_in_flight: int) -> dict[str, Any]:
    """Handles all events of a topic. Returns how many a second, from the first handler to the last."""
    worker = Worker(client=client, concurrency=max_in_flight, prefetch=0)
    seen: set[str] = set()
    handled = 0
    began = ended = 0.0

    @worker.on(topic)
    async def handle(delivery: Delivery) -> None:
        nonlocal handled, began, ended
        handled += 1
        if handled == 1:
            began = time.perf_counter()
        seen.add(delivery.event_id)
        if len(seen) == events and not ended:
            ended = time.perf_counter()
            worker.request_stop()

    await worker.serve()
    return {"drain_per_s": events / (ended - began), "handled": handled, "distinct": len(seen)}


async def signal_to_go_on() -> None:
    """Waits for a line."""
    print("ready", flush=True)  # noqa: T201 - the protocol
    await asyncio.to_thread(sys.stdin.readline)


async def main(given: dict[str, Any]) -> None:
    """Warms up, measures both parts, and prints the result."""
    topic, data, callers = given["topic"], b"x" * given["payload_bytes"], given["callers"]
    async with Client(given["target"]) as client:
        await dispatch(client, topic, data, given["warm_up"], callers)
        await drain(client, topic, given["warm_up"], given["max_in_flight"])
        await signal_to_go_on()
        dispatch_per_s = await dispatch(client, topic, data, given["events"], callers)
        await signal_to_go_on()
        drained = await drain(client, topic, given["backlog"], given["max_in_flight"])
        await signal_to_go_on()
    print(json.dumps({"dispatch_per_s": dispatch_per_s, **drained}))  # noqa: T201 - the protocol


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
