"""A topic over several partitions: its verbs as verbs on partitions. A topic with one partition costs nothing more."""

from __future__ import annotations

from asyncio import Lock
from collections import defaultdict
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import structlog

from duebus_server.domain.errors import DueBusError, Moved, NotFound
from duebus_server.domain.model import LeaseBatch, LeaseRef, NackRef, SubscriberInfo
from duebus_server.engine.redis.engine import RedisEngine
from duebus_server.engine.redis.locks import Locks
from duebus_server.engine.redis.partitioned.dispatch import Progress, dispatch_in
from duebus_server.engine.redis.partitioned.due_times import Dues, Outward
from duebus_server.engine.redis.partitioned.partition_count import Partitioning
from duebus_server.engine.redis.partitioned.partitions import all_of, topic_of
from duebus_server.engine.redis.replicas.sessions import Unanswered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.model import (
        AdoptedLease,
        DispatchAnswer,
        DispatchRequest,
        LeasedEvent,
        LeaseFailureReason,
        LeaseRequest,
    )
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.base import Watcher
    from duebus_server.engine.redis.replicas.presence import Presence
    from duebus_server.engine.redis.replicas.sessions import LocalSession
    from duebus_server.engine.redis.transport.runner import Runner

T = TypeVar("T")
S = TypeVar("S", LeaseRef, NackRef)

log = structlog.get_logger()

ATTEMPTS = 3
"""So often a verb is begun anew because the topic was found to be spread in another way."""


class SpreadVerbs(RedisEngine):
    """Routes what is asked of a topic to its partitions, and what they tell back to the topic.

    Args:
        runner: as ``RedisEngine``.
        defaults: as ``RedisEngine``.
        presence: as ``RedisEngine``.
    """

    def __init__(self, runner: Runner, presence: Presence, defaults: TopicConfig) -> None:
        super().__init__(runner, presence, defaults)
        self._partitioning = Partitioning(runner, Locks(runner), self._listing)
        self._dues = Dues()
        self._turns = count()
        self._following = Lock()

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` of topics, not of their partitions."""
        super().watch(Outward(watcher, self._dues))

    # --- the life of an event ---------------------------------------------------------------------------------------

    async def dispatch(self, topic: str, requests: Sequence[DispatchRequest]) -> list[DispatchAnswer | DueBusError]:
        """See ``Engine.dispatch``. Each partition's part of a request is one step; see ``dispatch.py``."""
        self._working()
        if self._partitioning.count(topic) == 1:
            try:
                return await super().dispatch(topic, requests)
            except Moved:
                await self._follow(topic, [topic], None)
        progress = [Progress.of(request) for request in requests]
        for _ in range(ATTEMPTS):
            names = self._partitioning.names(topic)
            await dispatch_in(names, [one for one in progress if one.is_to_go_on], super().dispatch)
            if not any(one.is_to_go_on for one in progress):
                break
            await self._follow(topic, names, None)
        return [one.outcome() for one in progress]

    async def lease(self, topic: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        """See ``Engine.lease``. The longest due first within a partition; each time another partition comes first."""

        async def lease(names: list[str]) -> LeaseBatch:
            if len(names) == 1:
                return await RedisEngine.lease(self, topic, group, session_id, request)
            return await self._lease_from(names, group, session_id, request)

        return await self._routed(topic, lease, session=(group, session_id))

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
            batch = await RedisEngine.lease(self, name, group, session_id, request)
            look.found(batch.next_due_us)
        return batch

    def _take_back(self, names: list[str], group: str, session_id: str, events: Sequence[LeasedEvent]) -> None:
        """Nobody hears of these leases: each partition is to take back what it gave."""
        for event in events:
            name = names[event.fencing_token % len(names)]
            self._dues.unsure(name, group)
            session = self._news.sessions.find(name, group, session_id)
            if session is not None:
                session.let_go([event.fencing_token])
                session.unanswered |= Unanswered.LEASE

    async def ack(self, topic: str, group: str, leases: Sequence[LeaseRef]) -> list[LeaseFailureReason | None]:
        """See ``Engine.ack``."""
        return await self._settle_in(topic, leases, lambda name, some: RedisEngine.ack(self, name, group, some))

    async def nack(self, topic: str, group: str, nacks: Sequence[NackRef]) -> list[LeaseFailureReason | None]:
        """See ``Engine.nack``."""
        return await self._settle_in(topic, nacks, lambda name, some: RedisEngine.nack(self, name, group, some))

    async def extend(
        self, topic: str, group: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[LeaseFailureReason | None]:
        """See ``Engine.extend``."""
        return await self._settle_in(
            topic, leases, lambda name, some: RedisEngine.extend(self, name, group, some, lease_us)
        )

    async def shorten(self, topic: str, group: str, session_id: str, grace_us: int) -> None:
        """See ``Engine.shorten``."""
        await self._each(topic, lambda name: RedisEngine.shorten(self, name, group, session_id, grace_us))

    async def next_due(self, topic: str, group: str) -> int | None:
        """See ``Engine.next_due``."""
        dues = await self._each(topic, lambda name: RedisEngine.next_due(self, name, group))
        return min((due for due in dues if due is not None), default=None)

    async def backlog(self, topic: str, group: str) -> int:
        """See ``Engine.backlog``."""
        return sum(await self._each(topic, lambda name: RedisEngine.backlog(self, name, group)))

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def join(self, topic: str, group: str, subscriber: SubscriberInfo) -> None:
        """See ``Engine.join``. When it fails half way, the groups that were made stay."""
        await self._each(topic, lambda name: RedisEngine.join(self, name, group, subscriber))

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """See ``Engine.adopt``."""
        return await self._settle_in(
            topic,
            leases,
            lambda name, some: RedisEngine.adopt(self, name, group, session_id, some, lease_us),
            session=(group, session_id),
        )

    async def leave(self, topic: str, group: str, session_id: str) -> None:
        """See ``Engine.leave``."""
        if self._following.locked():
            async with self._following:
                pass  # sessions are on their way to other partitions
        await self._each(topic, lambda name: RedisEngine.leave(self, name, group, session_id))

    def look_again(self) -> None:
        """Word may have been lost: every group with sessions here looks for itself, and in all partitions."""
        self._dues.forget()
        super().look_again()

    # --- the pieces -------------------------------------------------------------------------------------------------

    async def _routed(
        self,
        topic: str,
        verb: Callable[[list[str]], Awaitable[T]],
        session: tuple[str, str] | None = None,
    ) -> T:
        """Do something on the partitions of a topic.

        Args:
            topic: whose partitions.
            verb: what to do; is begun anew when the topic turns out to have other partitions.
            session: group and session id for which it is done.
        """
        for _ in range(ATTEMPTS):
            names = self._partitioning.names(topic)
            try:
                return await verb(names)
            except Moved:
                await self._follow(topic, names, session)
        raise Moved(topic)

    async def _each(self, topic: str, verb: Callable[[str], Awaitable[T]]) -> list[T]:
        """Do the same in each partition."""

        async def in_each(names: list[str]) -> list[T]:
            if len(names) == 1:
                return [await verb(topic)]
            return await all_of([verb(name) for name in names])

        return await self._routed(topic, in_each)

    async def _settle_in(
        self,
        topic: str,
        leases: Sequence[S],
        verb: Callable[[str, list[S]], Awaitable[list[T]]],
        session: tuple[str, str] | None = None,
    ) -> list[T]:
        """Do something about leases, each where it is: the fencing token says so."""

        async def settle(names: list[str]) -> list[T]:
            if len(names) == 1:
                return await verb(topic, list(leases))
            places: dict[int, list[int]] = defaultdict(list)
            for place, lease in enumerate(leases):
                places[_fencing_token(lease) % len(names)].append(place)
            some = [(names[number], [leases[place] for place in at]) for number, at in places.items()]
            answers = await all_of([verb(name, those) for name, those in some])
            found: dict[int, T] = {}
            for at, given in zip(places.values(), answers, strict=True):
                found.update(zip(at, given, strict=True))
            return [found[place] for place in range(len(leases))]

        return await self._routed(topic, settle, session)

    async def _follow(self, topic: str, names: list[str], session: tuple[str, str] | None) -> None:
        """Find out how a topic is spread now, and take its sessions there.

        Raises:
            NotFound: the group of ``session`` was deleted.
        """
        async with self._following:
            if self._partitioning.names(topic) == names:
                if await self._partitioning.refresh(topic) == len(names) > 1:
                    await self._partitioning.mend(topic)
                await self._take_along(topic)
        there = self._partitioning.names(topic)
        if session is not None and there != names and self._news.sessions.find(there[0], *session) is None:
            raise NotFound("group", session[0], topic=topic)

    async def _take_along(self, topic: str) -> None:
        """The sessions of a topic that is spread in another way go with it."""
        there = self._partitioning.names(topic)
        for old in self._news.sessions.elsewhere(topic, there):
            await self._move(old, there)

    async def _move(self, old: LocalSession, there: list[str]) -> None:
        """Take a session from a partition that is closed to those that are there now."""
        if not old.is_over and not await self._is_over(old, there[0]):
            subscriber = SubscriberInfo(old.session_id, old.consumer, self.now_us())
            for name in there:
                await RedisEngine.join(self, name, old.group, subscriber)
        self._news.sessions.forget(old)

    async def _is_over(self, old: LocalSession, first: str) -> bool:
        """Whether the group of a session was deleted, and nobody has heard of it here."""
        if await self._partitioning.has_group(first, old.group) or not await self._members.was_deleted(old):
            return False
        self._news.deleted(topic_of(old.topic), old.group, self.now_us())
        return True


def _fencing_token(lease: LeaseRef | NackRef) -> int:
    return lease.fencing_token if isinstance(lease, LeaseRef) else lease.lease.fencing_token


def _room(request: LeaseRequest, events: Sequence[LeasedEvent]) -> LeaseRequest:
    """What is left of a request when these events have been leased."""
    if not events:
        return request
    size = sum(len(event.body) for event in events)
    left = (request.max_events - len(events), request.max_bytes - size)
    return replace(request, max_events=left[0], max_bytes=left[1], at_least_one=False)
