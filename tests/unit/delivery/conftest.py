"""Sessions on the real local engine, with a clock that the test moves and streams that it may stop reading."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from duebus_server.delivery import streams
from duebus_server.delivery.frames import Deliveries, Frame
from duebus_server.delivery.options import SessionOptions
from duebus_server.delivery.streams import Streams
from duebus_server.delivery.window import Window
from duebus_server.domain.clock import SECOND, ManualClock
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import (
    AdoptedLease,
    DispatchRequest,
    LeaseBatch,
    LeaseFailureReason,
    LeaseRef,
    LeaseRequest,
    NackRef,
)
from duebus_server.domain.views import GroupInfo, TopicConfig
from duebus_server.engine.local import LocalEngine
from support.builders import new_event
from support.engines import START_US
from support.workers import settle_down

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from duebus_server.delivery.session import Session
    from duebus_server.domain.errors import DueBusError
    from duebus_server.domain.model import DispatchAnswer, NewEvent, Refill, Reservation

TOPIC = "orders"
GROUP = "billing"
PLENTY = 1 << 30


class TestEngine(LocalEngine):
    """The local engine, with faults that a test sets.

    Attributes:
        leases: how many lease calls each session has made.
        refills: how many acks could also lease.
        backlogs_counted: how many times it was asked for a backlog.
        unreachable: while it is set, the engine can't be reached.
        latency: turns of the loop before a verb is carried out, and again before its answer comes.
        broken_groups: groups in which nothing can be nacked.
    """

    __test__ = False
    leases: Counter[str]
    refills = 0
    backlogs_counted = 0
    unreachable = False
    latency = 0
    broken_groups: Sequence[str] = ()

    async def lease(self, topic: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        self.leases[session_id] += 1
        async with self._reach():
            return await super().lease(topic, group, session_id, request)

    async def dispatch(
        self, topic: str, requests: Sequence[DispatchRequest], reservations: Sequence[Reservation] = ()
    ) -> list[DispatchAnswer | DueBusError]:
        """See ``LocalEngine``. Hand-overs are reported with the answer."""
        async with self._reach_and_report():
            return await super().dispatch(topic, requests, reservations)

    async def ack(
        self, topic: str, group: str, leases: Sequence[LeaseRef], refill: Refill | None = None
    ) -> list[LeaseFailureReason | None]:
        """See ``LocalEngine``. One that may lease is slow, and reports that with its answer."""
        if refill is None:
            return await super().ack(topic, group, leases)
        self.refills += 1
        async with self._reach_and_report():
            return await super().ack(topic, group, leases, refill)

    async def dispatch_elsewhere(self, request: DispatchRequest) -> None:
        """Dispatch as another replica does: without latency, and also while this one can't reach the engine."""
        await super().dispatch(TOPIC, [request])

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        async with self._reach():
            return await super().adopt(topic, group, session_id, leases, lease_us)

    async def nack(self, topic: str, group: str, nacks: Sequence[NackRef]) -> list[LeaseFailureReason | None]:
        if group in self.broken_groups:
            raise DispatcherNotWorking("a key has the wrong type")
        return await super().nack(topic, group, nacks)

    async def backlog(self, topic: str, group: str) -> int:
        self.backlogs_counted += 1
        async with self._reach():
            return await super().backlog(topic, group)

    async def shorten(self, topic: str, group: str, session_id: str, grace_us: int) -> None:
        async with self._reach():
            await super().shorten(topic, group, session_id, grace_us)

    @asynccontextmanager
    async def _reach_and_report(self) -> AsyncIterator[None]:
        """As ``_reach``. What is leased meanwhile is reported with the answer."""
        reports: list[tuple[str, str, str, LeaseBatch]] = []
        watcher = self._topics.watcher
        assert isinstance(watcher, Streams)
        async with self._reach():
            with patch.object(watcher, "leased", lambda *what: reports.append(what)):
                yield
        for what in reports:
            watcher.leased(*what)

    @asynccontextmanager
    async def _reach(self) -> AsyncIterator[None]:
        for _ in range(self.latency):
            await asyncio.sleep(0)
        if self.unreachable:
            raise DispatcherNotWorking("out of reach")
        yield
        for _ in range(self.latency):
            await asyncio.sleep(0)


class Subscriber:
    """One stream. It reads frames as they arrive, unless the test stops its reading.

    Attributes:
        frames: the frames that it was sent.
        lost: the leases that it named and that were lost.
    """

    def __init__(self, session: Session, sessions: Streams) -> None:
        self.session = session
        self.frames: list[Frame] = []
        self.lost: list[LeaseRef] = []
        self._sessions = sessions
        self._reads = asyncio.Event()
        self._reads.set()
        self._stream: asyncio.Task[None] | None = None

    async def start(self, held: Sequence[LeaseRef] = ()) -> None:
        """Subscribe, and read the frames."""
        self.lost = await self.session.join(held)
        self._stream = asyncio.create_task(self._serve())
        await settle_down()

    def stop_reading(self) -> None:
        """Stop reading, like a client whose buffers are full."""
        self._reads.clear()

    def resume_reading(self) -> None:
        """Read what has arrived, and continue."""
        self._reads.set()

    async def vanish(self) -> None:
        assert self._stream is not None
        self._stream.cancel()
        with suppress(asyncio.CancelledError):
            await self._stream

    @property
    def ended(self) -> bool:
        """Whether the stream is over."""
        return self._stream is not None and self._stream.done()

    @property
    def ids(self) -> list[str]:
        """The ids of all events that it received, in order."""
        return [event.event_id for frame in self.frames if isinstance(frame, Deliveries) for event in frame.events]

    @property
    def leases(self) -> list[LeaseRef]:
        """All leases that it received, in order."""
        deliveries = [frame for frame in self.frames if isinstance(frame, Deliveries)]
        return [LeaseRef(event.event_id, event.fencing_token) for frame in deliveries for event in frame.events]

    async def _serve(self) -> None:
        try:
            async for frame in self.session.frames():
                await self._reads.wait()
                self.frames.append(frame)
        finally:
            await self._sessions.close(self.session)


class Bench:
    """One engine with its sessions."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_US)
        self.engine = TestEngine(self.clock, TopicConfig())
        self.engine.leases = Counter()
        self.streams = Streams(self.engine, self.clock)
        self._names = count(1)
        self._opened: list[Subscriber] = []

    async def subscribe(
        self,
        max_events: int = 64,
        max_bytes: int = PLENTY,
        *,
        group: str = GROUP,
        held: Sequence[LeaseRef] = (),
        lease_us: int = 30 * SECOND,
        grace_us: int = SECOND,
    ) -> Subscriber:
        """A stream that waits for events."""
        name = f"session-{next(self._names)}"
        options = SessionOptions(name, TOPIC, group, "", lease_us, grace_us)
        subscriber = Subscriber(self.streams.open(options, Window(max_events, max_bytes)), self.streams)
        self._opened.append(subscriber)
        await subscriber.start(held)
        return subscriber

    async def dispatch(self, *events: NewEvent | str) -> None:
        """Dispatch events, and let the sessions react. They are handed over to a session that waits."""
        await self.streams.dispatch(TOPIC, [request_of(events)])
        await settle_down()

    async def dispatch_elsewhere(self, *events: NewEvent | str) -> None:
        """Dispatch events as another replica does, and let the sessions react. They have to lease the events."""
        await self.engine.dispatch_elsewhere(request_of(events))
        await settle_down()

    async def ack(self, *leases: LeaseRef) -> None:
        assert await self.streams.ack(TOPIC, GROUP, leases) == [None] * len(leases)
        await settle_down()

    async def nack(self, *nacks: NackRef) -> None:
        assert await self.engine.nack(TOPIC, GROUP, nacks) == [None] * len(nacks)
        await settle_down()

    async def advance(self, by_us: int) -> None:
        self.clock.advance(by_us)
        await settle_down()

    async def group(self) -> GroupInfo:
        """The group as operators see it."""
        return next(info for info in (await self.engine.get_topic(TOPIC)).groups if info.group == GROUP)

    def lease_calls(self, subscriber: Subscriber) -> int:
        """How many lease calls the session has made."""
        return self.engine.leases[subscriber.session.options.session_id]

    async def close(self) -> None:
        for subscriber in self._opened:
            await subscriber.vanish()
        await self.engine.stop()


def request_of(events: Sequence[NewEvent | str]) -> DispatchRequest:
    """A request with these events."""
    return DispatchRequest([new_event(event) if isinstance(event, str) else event for event in events])


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """A started engine with its sessions. A dispatch waits for running lease calls, however busy the machine is."""
    monkeypatch.setattr(streams, "LEASE_ANSWER_TIMEOUT_S", 30.0)
    bench = Bench()
    await bench.engine.start()
    yield bench
    await bench.close()
