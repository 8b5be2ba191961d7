"""The redis engine as the server uses it: topics of any number of partitions, over an engine for single ones."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import structlog

from duebus_server.domain.errors import DueBusError, Moved
from duebus_server.domain.model import EngineName, LeaseBatch, LeaseRef, NackRef
from duebus_server.engine.redis.partitioned.admin import AdminVerbs
from duebus_server.engine.redis.partitioned.dispatch import Progress, dispatch_in
from duebus_server.engine.redis.partitioned.due_times import Dues, Outward
from duebus_server.engine.redis.partitioned.partitions import all_of
from duebus_server.engine.redis.partitioned.routing import ATTEMPTS, Routing
from duebus_server.engine.redis.partitioned.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.model import (
        AdoptedLease,
        DispatchAnswer,
        DispatchRequest,
        LeasedEvent,
        LeaseFailureReason,
        LeaseRequest,
        SubscriberInfo,
    )
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.base import Watcher
    from duebus_server.engine.redis.engine import RedisEngine
    from duebus_server.engine.redis.partitioned.partition_count import Partitioning

T = TypeVar("T")
S = TypeVar("S", LeaseRef, NackRef)

log = structlog.get_logger()


class PartitionedEngine(AdminVerbs):
    """Events in Redis, shared by replicas; ``engine.base.Engine`` says what each verb guarantees.

    Args:
        engine: carries out the verbs on topics of one partition, and on single partitions.
        partitioning: knows and changes how many partitions each topic has.
        defaults: the settings of topics.
    """

    name = EngineName.REDIS

    def __init__(self, engine: RedisEngine, partitioning: Partitioning, defaults: TopicConfig) -> None:
        routing = Routing(engine, partitioning)
        super().__init__(engine, partitioning, routing, Topics(engine.listing, defaults, self.get_topic))
        self._dues = Dues()
        self._turns = count()

    @property
    def lease_token_key(self) -> bytes:
        """Made by the first replica of the bus and kept in Redis; known once the engine is started."""
        return self._engine.lease_token_key

    async def start(self) -> None:
        """Be ready to work."""
        await self._engine.start()

    async def stop(self) -> None:
        """Let go of the connections."""
        await self._engine.stop()

    async def check(self) -> None:
        """See ``Engine.check``."""
        await self._engine.check()

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` of topics, not of their partitions."""
        self._engine.watch(Outward(watcher, self._dues))

    def now_us(self) -> int:
        """Redis's clock, as far as its answers tell."""
        return self._engine.now_us()

    # --- the life of an event ---------------------------------------------------------------------------------------

    async def dispatch(self, topic: str, requests: Sequence[DispatchRequest]) -> list[DispatchAnswer | DueBusError]:
        """See ``Engine.dispatch``. Each partition's part of a request is one step; see ``dispatch.py``."""
        names = self._routing.names(topic)
        if len(names) == 1:
            try:
                return await self._engine.dispatch(topic, requests)
            except Moved:
                await self._routing.follow(topic, names)
        self._engine.check_started()
        progress = [Progress.of(request) for request in requests]
        for _ in range(ATTEMPTS):
            names = self._routing.names(topic)
            await dispatch_in(names, [one for one in progress if one.is_to_go_on], self._engine.dispatch)
            if not any(one.is_to_go_on for one in progress):
                break
            await self._routing.follow(topic, names)
        return [one.outcome() for one in progress]

    async def lease(self, topic: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        """See ``Engine.lease``. The longest due first within a partition; each time another partition comes first."""

        async def lease(names: list[str]) -> LeaseBatch:
            if len(names) == 1:
                return await self._engine.lease(topic, group, session_id, request)
            return await self._lease_from(names, group, session_id, request)

        return await self._routing.routed(topic, lease, session=(group, session_id))

    async def _lease_from(self, names: list[str], group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        """Fill the request from one partition after the other, of those that may have something."""
        events: list[LeasedEvent] = []
        is_full = False
        try:
            for name in self._to_ask(names, group):
                batch = await self._lease_in(name, group, session_id, _room(request, events))
                events += batch.events
                is_full = batch.left_for_want_of_room or 0 < request.max_events <= len(events)
                if is_full:
                    break
        except DueBusError as error:
            if not events:
                raise
            # What was leased so far has to reach the session.
            log.warning("a partition was passed over", partition=name, group=group, error=str(error))
        except BaseException:
            self._take_back(names, group, session_id, events)
            raise
        next_due_us = self._dues.first(names, group, self.now_us())
        left = is_full and next_due_us is not None and next_due_us <= self.now_us()
        return LeaseBatch(events, next_due_us, left_for_want_of_room=left)

    def _to_ask(self, names: list[str], group: str) -> list[str]:
        """The partitions that may have something, beginning with another one each time; all when none is known to."""
        turn = next(self._turns) % len(names)
        in_turn = names[turn:] + names[:turn]
        now_us = self.now_us()
        return [name for name in in_turn if self._dues.may_be_due(name, group, now_us)] or in_turn

    async def _lease_in(self, name: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        with self._dues.looking(name, group) as look:
            batch = await self._engine.lease(name, group, session_id, request)
            look.found(batch.next_due_us)
        return batch

    def _take_back(self, names: list[str], group: str, session_id: str, events: Sequence[LeasedEvent]) -> None:
        """Nobody hears of these leases: each partition is to take back what it gave."""
        for event in events:
            name = names[event.fencing_token % len(names)]
            self._dues.unsure(name, group)
            self._engine.members.never_heard(name, group, session_id, event.fencing_token)

    async def ack(self, topic: str, group: str, leases: Sequence[LeaseRef]) -> list[LeaseFailureReason | None]:
        """See ``Engine.ack``."""
        return await self._settle_in(topic, leases, lambda name, some: self._engine.ack(name, group, some))

    async def nack(self, topic: str, group: str, nacks: Sequence[NackRef]) -> list[LeaseFailureReason | None]:
        """See ``Engine.nack``."""
        return await self._settle_in(topic, nacks, lambda name, some: self._engine.nack(name, group, some))

    async def extend(
        self, topic: str, group: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[LeaseFailureReason | None]:
        """See ``Engine.extend``."""
        return await self._settle_in(topic, leases, lambda name, some: self._engine.extend(name, group, some, lease_us))

    async def shorten(self, topic: str, group: str, session_id: str, grace_us: int) -> None:
        """See ``Engine.shorten``."""
        await self._routing.each(topic, lambda name: self._engine.shorten(name, group, session_id, grace_us))

    async def expire_leases(self) -> None:
        """See ``Engine.expire_leases``."""
        await self._engine.expire_leases()

    async def next_due(self, topic: str, group: str) -> int | None:
        """See ``Engine.next_due``."""
        dues = await self._routing.each(topic, lambda name: self._engine.next_due(name, group))
        return min((due for due in dues if due is not None), default=None)

    async def backlog(self, topic: str, group: str) -> int:
        """See ``Engine.backlog``."""
        return sum(await self._routing.each(topic, lambda name: self._engine.backlog(name, group)))

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def join(self, topic: str, group: str, subscriber: SubscriberInfo) -> None:
        """See ``Engine.join``. When it fails half way, the groups that were made stay."""
        await self._routing.each(topic, lambda name: self._engine.join(name, group, subscriber))

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """See ``Engine.adopt``."""
        return await self._settle_in(
            topic,
            leases,
            lambda name, some: self._engine.adopt(name, group, session_id, some, lease_us),
            session=(group, session_id),
        )

    async def leave(self, topic: str, group: str, session_id: str) -> None:
        """See ``Engine.leave``."""
        await self._routing.settled()
        await self._routing.each(topic, lambda name: self._engine.leave(name, group, session_id))

    # --- the pieces -------------------------------------------------------------------------------------------------

    async def _settle_in(
        self,
        topic: str,
        leases: Sequence[S],
        verb: Callable[[str, Sequence[S]], Awaitable[list[T]]],
        session: tuple[str, str] | None = None,
    ) -> list[T]:
        """Do something about leases, each where it is: the fencing token says so."""

        async def settle(names: list[str]) -> list[T]:
            if len(names) == 1:
                return await verb(topic, leases)
            places: dict[int, list[int]] = defaultdict(list)
            for place, lease in enumerate(leases):
                places[_fencing_token(lease) % len(names)].append(place)
            some = [(names[number], [leases[place] for place in at]) for number, at in places.items()]
            answers = await all_of([verb(name, those) for name, those in some])
            found: dict[int, T] = {}
            for at, given in zip(places.values(), answers, strict=True):
                found.update(zip(at, given, strict=True))
            return [found[place] for place in range(len(leases))]

        return await self._routing.routed(topic, settle, session)


def _fencing_token(lease: LeaseRef | NackRef) -> int:
    return lease.fencing_token if isinstance(lease, LeaseRef) else lease.lease.fencing_token


def _room(request: LeaseRequest, events: Sequence[LeasedEvent]) -> LeaseRequest:
    """What is left of a request when these events have been leased."""
    if not events:
        return request
    size = sum(len(event.body) for event in events)
    left = (request.max_events - len(events), request.max_bytes - size)
    return replace(request, max_events=left[0], max_bytes=left[1], at_least_one=False)
