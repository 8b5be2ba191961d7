"""The scenarios. Each starts the system that it measures, checks that all events were handled, and returns figures.

A figure's name ends with its unit: ``per_s`` (events or calls a second), ``ms``, ``bytes``, ``share`` (of a core, or of
a limit), ``us`` (CPU microseconds an event).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.roles.caller import ECHO, ECHO_STREAM, SEND
from bench.system import System
from duebus import Client, Limits, Rate
from support.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Figures = dict[str, float]

TOPIC = "bench"
PAYLOAD_BYTES = 200
HOUR_S = 3_600.0
MAX_FILL = 250_000
"""How many events a producer schedules at most: more take longer than a role may."""
BATCH = 500
"""Events in a call or a message."""
PACE = 50
"""Single events, and echoes, a second."""
UNREACHED = Limits(rate=Rate(events=1_000_000, per=1, burst=1_000_000))
"""A limit that is counted, and lets everything through."""


@dataclass(frozen=True)
class Size:
    """How much each scenario does: a full run, or a short one that shows that they work."""

    events: int
    backlog: int
    waiting: int
    single: int
    calls: int
    paced: int
    delayed: int
    subscriptions: int
    spread_s: float
    idle_s: float
    slow: int


FULL = Size(100_000, 200_000, 1_000_000, 50_000, 20_000, 500, 2_000, 1_000, 9.0, 10.0, 640)
QUICK = Size(2_000, 2_000, 2_000, 500, 200, 25, 50, 20, 1.0, 0.5, 65)


class IncompleteError(Exception):
    """Events were lost, or delivered twice without a reason."""


def check_complete(result: Mapping[str, Any], events: int) -> None:
    """Every event was handled, once.

    Raises:
        IncompleteError: one was lost or handled twice.
    """
    if (result["handled"], result["distinct"]) != (events, events):
        raise IncompleteError(f"{result['handled']} deliveries of {result['distinct']} events, expected {events}")


def end_to_end(engine: str, size: Size, waiting: int = 0, *, keys: int = 0, limits: Limits | None = None) -> Figures:
    """One producer in batches of 500, and one worker whose handler does nothing but ack; both begin together.

    Args:
        engine: which engine.
        size: how much it does.
        waiting: how many events are scheduled in the topic besides.
        keys: how many keys the events have, in turns; 0: none.
        limits: of the topic's groups.
    """
    with System(engine) as system:
        if limits is not None:
            with Client(system.server.address) as client:
                client.admin.configure_topic(TOPIC, engine=system.engine, limits=limits)
        fill(system, waiting)
        worker = system.role("worker", topic=TOPIC, events=size.events, concurrency=1_000)
        producer = system.role("producer", topic=TOPIC, events=size.events, keys=keys)
        before = system.cpu_s()
        worker.begin()
        producer.begin()
        produced, worked = producer.result(), worker.result()
        check_complete(worked, size.events)
        took_s = worked["ended_s"] - produced["began_s"]
        used = used_since(before, system) | {"producer": produced["cpu_s"], "worker": worked["cpu_s"]}
        return {"events_per_s": size.events / took_s, **microseconds_each(used, size.events)}


def raw_redis(engine: str, size: Size) -> Figures:
    """The limit of end-to-end: redis-py on both sides of the same sorted sets, without a service."""
    with System(engine) as system:
        if system.redis is None:
            return {}
        url = system.redis.url
        consumer = system.plain_role("raw_redis", url=url, side="consumer", events=size.events, batch=1_000)
        producer = system.plain_role("raw_redis", url=url, side="producer", events=size.events, batch=500)
        consumer.begin()
        producer.begin()
        produced, consumed = producer.result(), consumer.result()
        return {"events_per_s": size.events / (consumed["ended_s"] - produced["began_s"])}


def drain(engine: str, size: Size, waiting: int = 0) -> Figures:
    """A full backlog, then one worker."""
    with System(engine) as system:
        fill(system, waiting)
        # A topic without groups keeps its events for the first one. Usually the group exists before, as here.
        run(system, "worker", events=1, companion="producer")
        produce(system, size.backlog)
        worker = system.role("worker", topic=TOPIC, events=size.backlog, concurrency=1_000)
        began_s = time.monotonic()
        worker.begin()
        worked = worker.result()
        check_complete(worked, size.backlog)
        return {"events_per_s": size.backlog / (worked["ended_s"] - began_s)}


def single_dispatch(engine: str, size: Size) -> Figures:
    """64 coroutines, each of which dispatches single events one after the other."""
    with System(engine) as system:
        before = system.cpu_s()
        produced = produce(system, size.single, batch=1, coroutines=64)
        used = used_since(before, system) | {"producer": produced["cpu_s"]}
        rate = size.single / (produced["ended_s"] - produced["began_s"])
        return {"events_per_s": rate, **microseconds_each(used, size.single)}


def unary(engine: str, size: Size) -> Figures:
    """Plain unary RPCs, 64 in flight: Dispatch of one event, and the same bytes to a bare echo server.

    Also the echo server with batches: events a second in calls, and down a stream.
    """
    with System(engine) as system:
        bus = call(system, system.server.address, calls=size.calls)
        port = free_port()
        echo = system.plain_role("echo", port=port)
        limit = call(system, f"127.0.0.1:{port}", calls=size.calls, method=ECHO)
        batches = call(system, f"127.0.0.1:{port}", calls=max(1, size.calls // 20), method=ECHO, batch=BATCH)
        messages = max(1, size.calls // 20)
        streamed = messages * call(
            system, f"127.0.0.1:{port}", calls=1, method=ECHO_STREAM, batch=BATCH, streamed=messages
        )
        echo.begin()
        echo.result()
        return {
            "calls_per_s": bus,
            "echo_calls_per_s": limit,
            "of_echo_share": bus / limit,
            "echo_batched_per_s": BATCH * batches,
            "echo_stream_per_s": BATCH * streamed,
        }


def round_trip(engine: str, size: Size) -> Figures:
    """The limit of latency: at the same pace, a bare echo server's answer. It takes two hops, as an event does."""
    with System(engine) as system:
        port = free_port()
        echo = system.plain_role("echo", port=port)
        caller = system.plain_role(
            "caller",
            target=f"127.0.0.1:{port}",
            topic=TOPIC,
            engine=system.engine,
            calls=size.paced,
            method=ECHO,
            per_second=PACE,
        )
        caller.begin()
        measured = caller.result()["measured"]
        echo.begin()
        echo.result()
        return percentiles(measured)


def relay(engine: str, size: Size) -> Figures:
    """The limit of an event: at the same pace, through a bare gRPC server to a stream that another process reads."""
    with System(engine) as system:
        port = free_port()
        target = f"127.0.0.1:{port}"
        server = system.plain_role("echo", port=port)
        # The first call opens the connection, and is not measured.
        receiver = system.plain_role("receiver", target=target, messages=size.paced + 1)
        caller = system.plain_role(
            "caller",
            target=target,
            topic=TOPIC,
            engine=system.engine,
            calls=size.paced,
            method=SEND,
            per_second=PACE,
        )
        receiver.begin()
        caller.begin()
        caller.result()
        measured = receiver.result()["measured"][1:]
        server.begin()
        server.result()
        return percentiles(measured)


def latency(engine: str, size: Size, waiting: int = 0) -> Figures:
    """Single events at 50 a second: from the call of dispatch to the handler."""
    with System(engine) as system:
        fill(system, waiting)
        worker = system.role("worker", topic=TOPIC, events=size.paced, concurrency=64, measure="latency")
        pacer = system.role("pacer", topic=TOPIC, events=size.paced, per_second=PACE)
        worker.begin()
        pacer.begin()
        pacer.result()
        worked = worker.result()
        check_complete(worked, size.paced)
        return percentiles(worked["measured"])


def lateness(engine: str, size: Size, waiting: int = 0) -> Figures:
    """Events due one after the other: how long after the due time the handler starts."""
    with System(engine) as system:
        fill(system, waiting)
        return lateness_in(system, size)


def lateness_in(system: System, size: Size) -> Figures:
    """As ``lateness``, in a system that runs already."""
    worker = system.role("worker", topic=TOPIC, events=size.delayed, concurrency=64, measure="lateness")
    worker.begin()
    produce(system, size.delayed, delay_s=1.0, spread_s=size.spread_s)
    worked = worker.result()
    check_complete(worked, size.delayed)
    return {**percentiles(worked["measured"]), "earliest_ms": min(worked["measured"])}


def memory(engine: str, size: Size) -> Figures:
    """The memory of a scheduled event of 200 bytes with one group and no media type."""
    with System(engine) as system:
        run(system, "worker", events=1, companion="producer")
        before = system.stored_bytes()
        produce(system, size.waiting, batch=1_000, delay_s=HOUR_S, spread_s=HOUR_S, content_type="")
        return {"event_bytes": (system.stored_bytes() - before) / size.waiting}


def memory_with_a_journal(engine: str, size: Size) -> Figures:
    """As ``memory``, for the local engine with a data directory: the bodies are on the disk."""
    return memory("local-everysec", size) if engine == "local" else {}


def idle(engine: str, size: Size) -> Figures:
    """Subscriptions on which nothing happens: the server's CPU time, and its memory for each."""
    with System(engine) as system:
        before = system.rss_bytes()
        subscribers = system.role("subscribers", subscriptions=size.subscriptions)
        subscribers.begin()
        subscribers.wait_ready()
        each = (system.rss_bytes() - before) / size.subscriptions
        used = system.cpu_s()["server"]
        time.sleep(size.idle_s)
        share = (system.cpu_s()["server"] - used) / size.idle_s
        subscribers.begin()
        subscribers.result()
        return {"subscription_bytes": each, "core_share": share}


def slow_worker(engine: str, size: Size) -> Figures:
    """A worker whose handlers take a second each, with a backlog: how many it holds, and the server's memory."""
    with System(engine) as system:
        produce(system, size.backlog // 2)
        worker = system.role("worker", topic=TOPIC, events=size.slow, concurrency=64, handler_s=1.0)
        before = system.rss_bytes()
        worker.begin()
        worked = worker.result()
        return {"at_once": worked["at_once"], "grown_bytes": system.rss_bytes() - before}


def with_waiting(scenario: Callable[..., Figures]) -> Callable[[str, Size], Figures]:
    """The same with many events scheduled in the same topic."""
    return lambda engine, size: scenario(engine, size, size.waiting)


SCENARIOS: dict[str, Callable[[str, Size], Figures]] = {
    "end-to-end": end_to_end,
    "end-to-end, backlog": with_waiting(end_to_end),
    "end-to-end, keys": partial(end_to_end, keys=1_000),
    "end-to-end, limited": partial(end_to_end, limits=UNREACHED),
    "raw redis": raw_redis,
    "drain": drain,
    "drain, backlog": with_waiting(drain),
    "single dispatch": single_dispatch,
    "unary": unary,
    "round trip": round_trip,
    "relay": relay,
    "latency": latency,
    "latency, backlog": with_waiting(latency),
    "lateness": lateness,
    "lateness, backlog": with_waiting(lateness),
    "memory": memory,
    "memory, journal": memory_with_a_journal,
    "idle": idle,
    "slow worker": slow_worker,
}


# --- the pieces -------------------------------------------------------------------------------------------------------


def fill(system: System, waiting: int) -> None:
    """Schedule events for after the run, for a group that exists already."""
    if waiting:
        run(system, "worker", events=1, companion="producer")
        for first in range(0, waiting, MAX_FILL):
            events = min(MAX_FILL, waiting - first)
            produce(system, events, batch=1_000, delay_s=HOUR_S, spread_s=HOUR_S)


def produce(system: System, events: int, **arguments: Any) -> dict[str, Any]:
    """Dispatch events. Returns the role's result."""
    producer = system.role("producer", topic=TOPIC, events=events, payload=PAYLOAD_BYTES, **arguments)
    producer.begin()
    return producer.result()


def run(system: System, name: str, *, events: int, companion: str) -> None:
    """Run a worker and a producer of a few events, so that the group exists."""
    worker = system.role(name, topic=TOPIC, events=events, concurrency=1)
    other = system.role(companion, topic=TOPIC, events=events)
    for role in (worker, other):
        role.begin()
    other.result()
    worker.result()


def call(system: System, target: str, **arguments: Any) -> float:
    """Make unary calls. Returns how many a second."""
    caller = system.plain_role("caller", target=target, topic=TOPIC, engine=system.engine, **arguments)
    caller.begin()
    result = caller.result()
    return float(arguments["calls"] / (result["ended_s"] - result["began_s"]))


def used_since(before: Mapping[str, float], system: System) -> dict[str, float]:
    """The CPU seconds that the servers have used since then."""
    return {name: after - before[name] for name, after in system.cpu_s().items()}


def microseconds_each(used_s: Mapping[str, float], events: int) -> Figures:
    """These CPU seconds as microseconds an event."""
    return {f"{name}_us": seconds / events * 1e6 for name, seconds in used_s.items()}


def percentiles(values_ms: list[float]) -> Figures:
    """The median, the 99th percentile, and the maximum."""
    ordered = sorted(values_ms)
    return {
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[len(ordered) * 99 // 100],
        "worst_ms": ordered[-1],
    }
