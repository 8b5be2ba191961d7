"""Random requests to a real server with both engines: none ends it, none hangs, and it does not grow.

``make fuzz`` runs it with more requests, and with another seed each time.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from duebus_server.security.token_file import file_line, new_token
from fuzz.calls import METHODS, Calls
from fuzz.raw_http1 import RawHttp1
from fuzz.raw_http2 import RawHttp2
from support.redis_server import RedisServer
from support.secured import client
from support.server_process import ServerProcess, assert_untroubled
from support.wire import SIGNAL_TIMEOUT_S, figure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

SEED = os.environ.get("FUZZ_SEED", "1")
REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "4000"))
MINUTES = float(os.environ.get("FUZZ_MINUTES", "2"))

CALLERS, RAW_CALLERS = 24, 4
RAW_SHARE = 0.3
"""The share of requests that are made by hand."""
HTTP1_SHARE = 0.1
"""The share that two more callers make by hand, at the port of probes and metrics and at that of the bus over HTTP."""

WARM_UP = 2_000
"""How many requests fill the server's caches before its memory is measured."""

MAX_MORE_MIB = 128
MORE_FILES = 80
"""Most are connections to Redis, of which the server keeps up to 64."""
MORE_TASKS = 10

RULES = """
[[rule]]
identity = "fuzz"
verbs = ["dispatch", "subscribe", "admin"]
topics = ["*"]

[[rule]]
identity = "operator"
verbs = ["stop"]
topics = ["*"]
"""


class Target:
    """The server that is attacked.

    Attributes:
        tokens: of the identities in the rules.
        server: its process.
    """

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.tokens = {"fuzz": new_token(), "operator": new_token()}
        lines = [file_line(identity, token) for identity, token in self.tokens.items()]
        tokens, rules = folder / "tokens", folder / "rules.toml"
        tokens.write_text("\n".join(lines) + "\n")
        tokens.chmod(0o600)
        rules.write_text(RULES)
        self.server = ServerProcess(
            folder / "server.log",
            *("--engine", "local", "--engine", "redis", "--redis-url", redis_url, "--max-queued", "1000"),
            *("--tokens-file", str(tokens), "--acl-file", str(rules), "--audit-log", str(folder / "audit.log")),
            *("--dedupe-window", "1s", "--drain-timeout", "1s", "--http-listen", "127.0.0.1:0"),
            *("--web-listen", "127.0.0.1:0"),
            module="fuzz.counting_server",
            env={"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        self.address = self.server.address
        self.http = self.server.logged(r"http on .*address=(\S+)")
        self.web = self.server.logged(r"web on .*address=(\S+)")

    def memory_mib(self) -> int:
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) >> 10  # type: ignore[index]  # every process has it

    def files(self) -> int:
        """The file descriptors that it has open."""
        return len(list(Path(f"/proc/{self.server.process.pid}/fd").iterdir()))

    async def tasks(self) -> int:
        """The tasks of its event loop."""
        before = self.server.log.stat().st_size
        self.server.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + SIGNAL_TIMEOUT_S
        while not (found := re.search(rb"tasks=(\d+)\n", self.server.log.read_bytes()[before:])):
            assert time.monotonic() < deadline, "the server does not count its tasks"
            await asyncio.sleep(0.01)  # another process can't signal the test
        return int(found[1])

    def probe(self) -> int:
        """The status of /readyz."""
        with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=SIGNAL_TIMEOUT_S) as answer:
            return int(answer.status)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    redis = RedisServer()
    started = Target(tmp_path, redis.url)
    yield started
    started.server.close()
    redis.close()


class Size(NamedTuple):
    """The memory, descriptors and tasks of a server."""

    memory_mib: int
    files: int
    tasks: int


class Run:
    """Attacks a server from several sides at once; the seed decides what each side does.

    Attributes:
        statuses: how many calls ended with each status.
        raw: how many requests were made by hand at the port of gRPC.
        http1: how many were at the port of probes and metrics, or at that of the bus over HTTP.
        faults: descriptions of what happened against the contract.
    """

    def __init__(self, target: Target, seed: str) -> None:
        self._target = target
        self._seed = seed
        self.statuses: Counter[str] = Counter()
        self.raw = 0
        self.http1 = 0
        self.faults: list[str] = []

    @property
    def made(self) -> int:
        """All requests."""
        return self.raw + self.http1 + self.statuses.total()

    async def attack(self, requests: int, until: float) -> None:
        """Make this many requests, or fewer if ``time.monotonic()`` reaches the deadline first."""
        raw, http1 = round(requests * RAW_SHARE), round(requests * HTTP1_SHARE)
        await asyncio.gather(
            *(self._call(number, (requests - raw - http1) // CALLERS, until) for number in range(CALLERS)),
            *(self._by_hand(number, raw // RAW_CALLERS, until) for number in range(RAW_CALLERS)),
            self._over_http(RawHttp1(self._target.http, Random(f"{self._seed}-http1")), http1 // 2, until),
            self._over_http(
                RawHttp1(self._target.web, Random(f"{self._seed}-web"), self._target.tokens["fuzz"]), http1 // 2, until
            ),
        )

    async def _call(self, number: int, requests: int, until: float) -> None:
        caller = Calls(self._target.address, self._target.tokens["fuzz"], Random(f"{self._seed}-calls-{number}"))
        try:
            while caller.statuses.total() < requests and time.monotonic() < until:
                await caller.make()
        finally:
            await caller.close()
        self.statuses.update(caller.statuses)
        self.faults += caller.faults

    async def _by_hand(self, number: int, requests: int, until: float) -> None:
        caller = RawHttp2(self._target.address, self._target.tokens["fuzz"], Random(f"{self._seed}-raw-{number}"))
        made = 0
        while made < requests and time.monotonic() < until:
            made += await caller.make()
        self.raw += made

    async def _over_http(self, caller: RawHttp1, requests: int, until: float) -> None:
        made = 0
        while made < requests and time.monotonic() < until:
            made += await caller.make()
        self.http1 += made
        self.faults += caller.faults


async def delete_all_topics(target: Target) -> None:
    """Delete all topics, so that the server holds nothing."""
    async with client(target.address, target.tokens["fuzz"]) as bus:
        for engine in target.server.engines:
            for topic in [info.topic async for info in bus.admin.list_topics(engine=engine)]:
                await bus.admin.delete_topic(topic, engine=engine)


async def assert_it_serves(target: Target) -> None:
    """Assert that an event gets through, on each engine, and that the probe reports it."""
    assert await asyncio.to_thread(target.probe) == 200
    async with client(target.address, target.tokens["fuzz"]) as bus:
        for engine in target.server.engines:
            sent = await bus.dispatch("afterwards", b"all is well", engines=[engine])
            async with bus.subscribe("afterwards", engine=engine) as deliveries:
                received = await asyncio.wait_for(anext(deliveries), SIGNAL_TIMEOUT_S)
                assert received.event_id == sent.event_id
                assert await bus.ack(received) == []
            await bus.admin.delete_topic("afterwards", engine=engine)


async def until_at_most(measure: Callable[[], Awaitable[int]], most: int, what: str) -> int:
    """Wait until a measurement is small enough, and return it. Connections and tasks end a moment after their calls.

    Raises:
        AssertionError: it never is.
    """
    found = await measure()
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while found > most:
        assert time.monotonic() < deadline, f"{found} {what}, at most {most} are expected"
        await asyncio.sleep(0.1)  # another process can't signal the test
        found = await measure()
    return found


@pytest.mark.timeout(MINUTES * 60 + 180)
async def test_random_requests_do_no_harm(target: Target) -> None:
    figure(f"seed {SEED} (SEED=), {REQUESTS} requests (REQUESTS=), at most {MINUTES:g} minutes (MINUTES=)")
    began = time.monotonic()
    warm_up = Run(target, f"{SEED}-warm-up")
    await warm_up.attack(min(WARM_UP, REQUESTS // 2), began + MINUTES * 60)
    await delete_all_topics(target)
    before = Size(target.memory_mib(), target.files(), await target.tasks())

    run = Run(target, SEED)
    await run.attack(REQUESTS - warm_up.made, began + MINUTES * 60)
    most = target.memory_mib()
    await delete_all_topics(target)

    async def files() -> int:
        return target.files()

    after = Size(
        target.memory_mib(),
        await until_at_most(files, before.files + MORE_FILES, "open files"),
        await until_at_most(target.tasks, before.tasks + MORE_TASKS, "tasks"),
    )
    by_hand = f"{warm_up.raw + run.raw} by hand, {warm_up.http1 + run.http1} of HTTP/1.1 by hand"
    figure(f"{warm_up.made + run.made} requests in {time.monotonic() - began:.0f} s, {by_hand}")
    figure(", ".join(f"{status} {count}" for status, count in (warm_up.statuses + run.statuses).most_common()))
    figure(f"before {before}, after {after}, {most} MiB before the topics were deleted")
    faults = warm_up.faults + run.faults
    assert faults == [], "\n".join(faults[:20])
    assert max(most, after.memory_mib) - before.memory_mib <= MAX_MORE_MIB
    await assert_it_serves(target)
    assert target.server.terminate() == 0
    assert_untroubled(target.server.log.read_text())


async def test_random_stops_are_answered(target: Target) -> None:
    (stop,) = [method for method in METHODS if method.name == "Stop"]
    calls = Calls(target.address, target.tokens["operator"], Random(f"{SEED}-stops"), (stop,))
    for _ in range(200):
        await calls.make()
    await calls.close()
    assert calls.faults == []
    await asyncio.to_thread(target.server.terminate)
    assert_untroubled(target.server.log.read_text())
