"""Use cases on two engines: the local one, and a second in-memory engine in place of Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from duebus_server.bus.dispatching import DispatchCommand, Dispatching
from duebus_server.bus.engines import Engines, RunningEngine
from duebus_server.bus.lifecycle import Lifecycle
from duebus_server.bus.settling import Settling
from duebus_server.bus.subscribing import SubscribeCommand, Subscribing
from duebus_server.domain.clock import SECOND, ManualClock
from duebus_server.domain.lease_token import LeaseTokens
from duebus_server.domain.model import DispatchRequest, EngineName, LeaseRequest, SubscriberInfo
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.wire.schedule_codec import ScheduleCodec
from support.builders import new_event
from support.engines import START_US

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from duebus_server.domain.clock import Clock
    from duebus_server.domain.errors import DueBusError
    from duebus_server.domain.model import (
        DispatchAnswer,
        LeasedEvent,
        LeaseFailureReason,
        LeaseRef,
        Refill,
        Reservation,
    )
    from duebus_server.engine.base import Engine

LOCAL, REDIS = EngineName.LOCAL, EngineName.REDIS
TOPIC, GROUP = "orders", "billing"


class OtherEngine(LocalEngine):
    """An engine with another name, which fails on demand."""

    name = REDIS
    failure: DueBusError | None = None
    partition_count = 1

    def __init__(self, clock: Clock, defaults: TopicConfig) -> None:
        super().__init__(clock, defaults)
        self.dispatched: list[int] = []
        """How many events each call had."""
        self.acked: list[int] = []
        """How many leases each call had."""

    def partitions(self, topic: str) -> int:  # noqa: ARG002  # as the protocol has it
        return self.partition_count

    async def ack(
        self, topic: str, group: str, leases: Sequence[LeaseRef], refill: Refill | None = None
    ) -> list[LeaseFailureReason | None]:
        self.acked.append(len(leases))
        await asyncio.sleep(0)  # others may come meanwhile
        return await super().ack(topic, group, leases, refill)

    async def dispatch(
        self, topic: str, requests: Sequence[DispatchRequest], reservations: Sequence[Reservation] = ()
    ) -> list[DispatchAnswer | DueBusError]:
        self.dispatched.append(sum(len(request.events) for request in requests))
        await asyncio.sleep(0)  # others may come meanwhile
        if self.failure is not None:
            return [self.failure for _ in requests]
        return await super().dispatch(topic, requests, reservations)


class Bus:
    """The use cases, put together as ``app`` does it."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_US)
        self.local = LocalEngine(self.clock, TopicConfig())
        self.other = OtherEngine(self.clock, TopicConfig())
        self.running = [RunningEngine.of(each, self.clock, ScheduleCodec()) for each in (self.local, self.other)]
        self.engines = Engines(self.running)
        self.token_keys: dict[EngineName, bytes] = {}
        self.tokens = LeaseTokens(self.token_keys)
        self.dispatching = Dispatching(self.engines)
        self.settling = Settling(self.engines, self.tokens)
        self.subscribing = Subscribing(self.engines, self.tokens, SECOND)
        self.not_serving = 0
        self.lifecycle = Lifecycle(self.engines, self.clock, SECOND, self._started, self._not_serving)

    def _started(self, engine: Engine) -> None:
        self.token_keys[engine.name] = engine.lease_token_key

    async def _not_serving(self) -> None:
        self.not_serving += 1

    async def dispatch(self, *ids: str, engines: Sequence[EngineName] = (), request_id: str = "") -> DispatchAnswer:
        request = DispatchRequest([new_event(each) for each in ids], request_id)
        return await self.dispatching.dispatch(DispatchCommand(TOPIC, request, engines))

    async def lease(self, engine: LocalEngine, group: str = GROUP) -> list[LeasedEvent]:
        """Lease everything that is ready."""
        await engine.join(TOPIC, group, SubscriberInfo("worker", "", START_US))
        return list((await engine.lease(TOPIC, group, "worker", LeaseRequest(100, 1 << 30))).events)

    def token(self, engine: LocalEngine, leased: LeasedEvent, group: str = GROUP) -> str:
        """The lease token that a client gets."""
        (token,) = self.tokens.of_group(engine.name, TOPIC, group).mint([leased.event_id], [leased.fencing_token])
        return token


def command(
    *, engine: EngineName | None = None, group: str = GROUP, held: Sequence[str] = (), lease_us: int | None = None
) -> SubscribeCommand:
    return SubscribeCommand(TOPIC, group, engine, "", 64, 1 << 24, lease_us, None, held)


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    bus = Bus()
    await bus.lifecycle.start()
    yield bus
    for reaper in bus.lifecycle._reapers.values():
        reaper.cancel()
