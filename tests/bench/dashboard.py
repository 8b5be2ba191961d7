"""What the dashboard costs: a server with many topics and open pages, and how late deliveries are meanwhile.

    PYTHONPATH=tests .venv/bin/python -m bench.dashboard --engines local redis

Windows without pages and with them take turns. Prints the share of a core that the server and Redis use, and the
lateness of deliveries, as medians over the rounds. Then how long a browser takes to draw a long list after a key or a
scroll.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from statistics import quantiles
from typing import NamedTuple
from urllib.parse import urlsplit

from bench.system import System
from duebus import Client as Blocking
from duebus import NewEvent
from duebus.aio import Client
from support.browser import Visitor, chromium

Figures = dict[str, float]

TIMEOUT_S = 60
WAITS_S = 3_600
BUSY = 20
"""How many topics have traffic."""

PACE_S = 0.02
"""How often an event is dispatched to one of them."""
DELAY_S = 0.3
"""Its delay."""


MEASURED = """async ([steps, name]) => {
  const took = [];
  for (const step of steps) {
    const began = performance.now();
    if (name === "type") {
      const input = document.querySelector("header input");
      input.value = step;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    } else {
      window.scrollTo(0, step * document.body.scrollHeight);
    }
    await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
    took.push(performance.now() - began);
  }
  return took;
}"""
"""Does something to the page again and again. Returns how long the page took to be drawn anew, in milliseconds."""

TYPED = ["many.1234"[:length] for length in (*range(1, 10), *range(8, -1, -1))]
SCROLLED = [number / 50 for number in (*range(50), *range(50, -1, -1))]
EVENTS_AT_ONCE = 1_000


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        topics: how many topics have an event.
        events: how many events the list of events has.
        pages: how many pages are open.
        rounds: how many windows without pages, and as many with them.
        window_s: how long each takes.
    """

    topics: int
    events: int
    pages: int
    rounds: int
    window_s: float


FULL = Size(10_000, 100_000, 200, 5, 20)
QUICK = Size(50, 2_000, 5, 1, 0.5)


async def deliver(address: str, seconds: float) -> list[float]:
    """Dispatch delayed events to the busy topics. Returns how late they come, in milliseconds."""
    late: list[float] = []
    each = max(1, round(seconds / PACE_S / BUSY))
    async with Client(address, timeout=TIMEOUT_S) as client, asyncio.TaskGroup() as group:
        for number in range(BUSY):
            group.create_task(_receive(client, f"busy-{number}", each, late))
        began = time.monotonic()
        for number in range(each * BUSY):
            await asyncio.sleep(max(0.0, began + number * PACE_S - time.monotonic()))
            await client.dispatch(f"busy-{number % BUSY}", b"other", delay=DELAY_S)
    return late


async def _receive(client: Client, topic: str, count: int, late: list[float]) -> None:
    async with client.subscribe(topic) as subscription:
        for _ in range(count):
            delivery = await anext(subscription)
            late.append((time.time() - delivery.deliver_at.timestamp()) * 1_000)
            await client.ack([delivery.lease_token])


def window(system: System, size: Size) -> Figures:
    """The share of a core, in percent, and the lateness of a while."""
    before, began = system.cpu_s(), time.monotonic()
    late = asyncio.run(deliver(system.server.address, size.window_s))
    took_s = time.monotonic() - began
    shares = {f"{name}_percent": 100 * (used - before[name]) / took_s for name, used in system.cpu_s().items()}
    of_hundred = quantiles(late, n=100)
    return {**shares, "p50_ms": of_hundred[49], "p99_ms": of_hundred[98]}


def measure(engine: str, size: Size) -> dict[str, Figures]:
    """The medians without pages and with them, and of the difference of each round."""
    without, with_pages = [], []
    with System(engine, "--web-listen", "127.0.0.1:0") as system:
        topics = system.role("topics", topics=size.topics, delay_s=WAITS_S)
        topics.begin()
        topics.result()
        address = urlsplit(system.server.web).netloc
        window(system, size)  # the first one warms up
        for _ in range(size.rounds):
            without.append(window(system, size))
            pages = system.plain_role("pages", address=address, count=size.pages)
            with_pages.append(window(system, size))
            pages.close()
    rounds = zip(without, with_pages, strict=True)
    more = [{name: after[name] - before[name] for name in before} for before, after in rounds]
    return {"without": _medians(without), "with pages": _medians(with_pages), "difference": _medians(more)}


def browse(size: Size) -> dict[str, Figures]:
    """How long a browser takes to draw the list of topics, and one of events, anew."""
    with System("local", "--web-listen", "127.0.0.1:0") as system, chromium() as browser:
        topics = system.role("topics", topics=size.topics, delay_s=WAITS_S)
        topics.begin()
        topics.result()
        with Blocking(system.server.address, timeout=TIMEOUT_S) as client:
            for _ in range(0, size.events, EVENTS_AT_ONCE):
                client.dispatch_many("long", [NewEvent(data=b"waits") for _ in range(EVENTS_AT_ONCE)])
        visitor = Visitor(browser, system.server.web, viewport={"width": 1200, "height": 800})
        page = visitor.open("#/", "table")
        typed, scrolled = (page.evaluate(MEASURED, given) for given in ((TYPED, "type"), (SCROLLED, "scroll")))
        began = time.monotonic()
        visitor.open("#/group?engine=local&topic=long&show=ready", "table")
        opened_ms = 1_000 * (time.monotonic() - began)
        events = page.evaluate(MEASURED, (SCROLLED, "scroll"))
        visitor.close()
    return {
        "typing in the list of topics": _spread(typed),
        "scrolling it": _spread(scrolled),
        "scrolling a list of events": {"opened_ms": opened_ms, **_spread(events)},
    }


def _spread(took_ms: list[float]) -> Figures:
    return {"p50_ms": statistics.median(took_ms), "max_ms": max(took_ms)}


def _medians(rounds: list[Figures]) -> Figures:
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=["local", "redis"])
    parser.add_argument("--rounds", type=int, default=FULL.rounds)
    parser.add_argument("--quick", action="store_true", help="only check that it runs")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL._replace(rounds=options.rounds)
    for engine in options.engines:
        _print(engine, measure(engine, size))
    _print("browser", browse(size))


def _print(what: str, measured: dict[str, Figures]) -> None:
    for name, figures in measured.items():
        shown = ", ".join(f"{figure} {value:.2f}" for figure, value in figures.items())
        sys.stdout.write(f"{what}: {name}: {shown}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
