"""The redis engine as the server uses it: topics of any number of partitions, over an engine for single ones."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import structlog

from duebus_server.domain.errors import DispatcherNotWorking, DueBusError, PartitionsChanging
from duebus_server.domain.model import (
    DispatchAnswer,
    EngineName,
    LeaseBatch,
    LeaseRef,
    NackRef,
    PauseScope,
    Reservation,
)
from duebus_server.domain.schedules import FiringOutcome
from duebus_server.engine.redis.partitioned.admin import AdminVerbs
from duebus_server.engine.redis.partitioned.dispatch import Progress, dispatch_in
from duebus_server.engine.redis.partitioned.due_times import DueTimes, TopicReports
from duebus_server.engine.redis.partitioned.minutes import MinutesOfTopics
from duebus_server.engine.redis.partitioned.routing import ATTEMPTS, Routing
from duebus_server.engine.redis.partitioned.schedules import Schedules
from duebus_server.engine.redis.partitioned.topics import Topics
from duebus_server.engine.redis.tasks import all_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.minutes import MinuteOfTopic
    from duebus_server.domain.model import (
        AdoptedLease,
        DispatchRequest,
        LeasedEvent,
        LeaseFailureReason,
        LeaseRequest,
        Refill,
        SubscriberInfo,
    )
    from duebus_server.domain.schedules import DueSchedules, Firing, ScheduleRecord
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.base import StorageTimer
    from duebus_server.engine.redis.engine import RedisEngine
    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.partitioned.partition_count import Partitioning
    from duebus_server.engine.redis.transport.runner import Runner
    from duebus_server.engine.watcher import Watcher

T = TypeVar("T")
S = TypeVar("S", LeaseRef, NackRef)

log = structlog.get_logger()


class PartitionedEngine(AdminVerbs):
    """Events in Redis, shared by replicas; ``engine.base.Engine`` documents the guarantees of each verb.

    Args:
        engine: carries out the verbs on topics of one partition, and on single partitions.
        runner: runs the scripts of schedules.
        partitioning: knows and changes how many partitions each topic has.
        defaults: the settings of topics.
    """

    name = EngineName.REDIS

    def __init__(self, engine: RedisEngine, runner: Runner, partitioning: Partitioning, defaults: TopicConfig) -> None:
        routing = Routing(engine, partitioning, self._join_in)
        topics = Topics(engine, routing, defaults, self.get_topic)
        super().__init__(engine, partitioning, routing, topics, Schedules(engine, runner, routing, defaults))
        self._runner = runner
        self._minutes = MinutesOfTopics(runner, lambda topic: routing.partitions(topic)[0])
        self._due_times = DueTimes()
        self._turns = count()

    @property
    def lease_token_key(self) -> bytes:
        """Made by the first replica of the bus and kept in Redis; known once the engine is started."""
        return self._engine.lease_token_key

    async def start(self) -> None:
        """Start the engine."""
        await self._engine.start()

    async def stop(self) -> None:
        """Close the connections."""
        if self._runner.is_working:
            await self._minutes.save_last()
        await self._engine.stop()

    async def check(self) -> None:
        """See ``Engine.check``."""
        await self._engine.check()

    def watch(self, watcher: Watcher) -> None:
        """Report to ``watcher`` about topics, not about their partitions."""
        self._engine.watch(TopicReports(watcher, self._due_times, self._minutes))

    def time_storage(self, timed: StorageTimer) -> None:
        """See ``Engine.time_storage``."""
        self._runner.timed = timed

    def now_us(self) -> int:
        """Redis's clock, estimated from its answers."""
        return self._engine.now_us()

    def wall_us(self) -> int:
        """The same: Redis has one clock."""
        return self._engine.now_us()

    def partitions(self, topic: str) -> int:
        """See ``Engine.partitions``."""
        return len(self._routing.partitions(topic))

    # --- the life of an event ---------------------------------------------------------------------------------------

    async def dispatch(
        self,
        topic: str,
        requests: Sequence[DispatchRequest],
        reservations: Sequence[Reservation] = (),
    ) -> list[DispatchAnswer | DueBusError]:
        """See ``Engine.dispatch``. Each partition's part of a request is one step; see ``dispatch.py``."""
        answers = await self._dispatch(topic, requests, reservations)
        done = [answer for answer in answers if isinstance(answer, DispatchAnswer)]
        stored = sum([len(answer.event_ids) - len(answer.duplicate_event_ids) for answer in done])
        self._minutes.dispatched(topic, stored)
        return answers

    async def _dispatch(
        self, topic: str, requests: Sequence[DispatchRequest], reservations: Sequence[Reservation]
    ) -> list[DispatchAnswer | DueBusError]:
        partitions = self._routing.partitions(topic)
        if len(partitions) == 1:
            try:
                return await self._engine.dispatch(partitions[0], requests, reservations)
            except PartitionsChanging:
                await self._routing.follow(topic, partitions)
        self._engine.check_started()
        progress = [Progress.of(request) for request in requests]
        for _ in range(ATTEMPTS):
            partitions = self._routing.partitions(topic)
            unfinished = [one for one in progress if one.has_more_to_store]
            await dispatch_in(partitions, unfinished, reservations, self._engine.dispatch)
            reservations = ()  # some of the room may be used
            if not any(one.has_more_to_store for one in progress):
                break
            try:
                await self._routing.follow(topic, partitions)
            except DispatcherNotWorking:  # each request's own answer says how much of it was stored
                break
        return [one.outcome() for one in progress]

    async def lease(self, topic: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        """See ``Engine.lease``. Longest due first within a partition; each lease begins at a different one."""

        async def lease(partitions: list[Partition]) -> LeaseBatch:
            if len(partitions) == 1:
                return await self._engine.lease(partitions[0], group, session_id, request)
            return await self._lease_from(partitions, group, session_id, request)

        batch = await self._routing.routed(topic, lease, session=(group, session_id))
        self._minutes.delivered(topic, group, batch)
        return batch

    async def _lease_from(
        self, partitions: list[Partition], group: str, session_id: str, request: LeaseRequest
    ) -> LeaseBatch:
        """Fill the request from the partitions that may have something, one after the other."""
        events: list[LeasedEvent] = []
        is_full = is_paused = False
        try:
            for partition in self._to_ask(partitions, group, with_suspect=request.with_suspect):
                batch = await self._lease_in(partition, group, session_id, _room(request, events))
                events += batch.events
                is_paused = is_paused or batch.is_paused
                is_full = batch.has_more or 0 < request.max_events <= len(events)
                if is_full:
                    break
        except DueBusError as error:
            if not events:
                raise
            # The session must still get what was leased so far.
            log.warning("partition skipped", partition=str(partition), group=group, error=str(error))
        except BaseException:
            self._take_back(partitions, group, session_id, events)
            raise
        takes_suspect = _room(request, events).with_suspect
        next_due_us = self._next_due(partitions, group, takes_suspect=takes_suspect)
        left = is_full and next_due_us is not None and next_due_us <= self.now_us()
        suspect_due_us = None if takes_suspect else self._due_times.first_suspect(partitions, group)
        return LeaseBatch(events, next_due_us, left, is_paused, suspect_due_us)

    def _next_due(self, partitions: list[Partition], group: str, *, takes_suspect: bool) -> int | None:
        """When the first of the partitions has something for a session."""
        times = [self._due_times.first(partitions, group, self.now_us())]
        if takes_suspect:
            times.append(self._due_times.first_suspect(partitions, group))
        return min((at_us for at_us in times if at_us is not None), default=None)

    def _to_ask(self, partitions: list[Partition], group: str, *, with_suspect: bool) -> list[Partition]:
        """The partitions that may have something, beginning with another each time; all when none is known to."""
        turn = next(self._turns) % len(partitions)
        in_turn = partitions[turn:] + partitions[:turn]
        now_us = self.now_us()
        may_be_due = self._due_times.may_be_due
        return [one for one in in_turn if may_be_due(one, group, now_us, with_suspect=with_suspect)] or in_turn

    async def _lease_in(self, partition: Partition, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        with self._due_times.leasing(partition, group) as lease:
            batch = await self._engine.lease(partition, group, session_id, request)
            lease.found(batch)
        return batch

    def _take_back(
        self, partitions: list[Partition], group: str, session_id: str, events: Sequence[LeasedEvent]
    ) -> None:
        """The session will not learn of these leases. Its next lease takes them back from each partition."""
        for event in events:
            partition = partitions[event.fencing_token % len(partitions)]
            self._due_times.forget(partition, group)
            self._engine.members.take_back(partition, group, session_id, event.fencing_token)

    async def ack(
        self, topic: str, group: str, leases: Sequence[LeaseRef], refill: Refill | None = None
    ) -> list[LeaseFailureReason | None]:
        """See ``Engine.ack``."""

        def ack(partition: Partition, some: Sequence[LeaseRef]) -> Awaitable[list[LeaseFailureReason | None]]:
            if refill is None:
                return self._engine.ack(partition, group, some)
            request = refill.request(some, partition.count, with_suspect=some[0] == leases[0])
            reservation = Reservation(group, refill.session_id, request)
            return self._engine.ack(partition, group, some, [reservation] if request.max_events else ())

        results = await self._settle_in(topic, leases, ack)
        self._minutes.acked(topic, group, results.count(None))
        return results

    async def nack(self, topic: str, group: str, nacks: Sequence[NackRef]) -> list[LeaseFailureReason | None]:
        """See ``Engine.nack``."""
        results = await self._settle_in(topic, nacks, lambda partition, some: self._engine.nack(partition, group, some))
        self._minutes.nacked(topic, group, results.count(None))
        pauses = [nack.pause for nack, failure in zip(nacks, results, strict=True) if nack.pause and failure is None]
        duration_us = max((pause.duration_us for pause in pauses if pause.scope is PauseScope.GROUP), default=0)
        if duration_us and len(self._routing.partitions(topic)) > 1:
            await self._routing.each(topic, lambda partition: self._engine.pause_for(partition, group, duration_us))
        return results

    async def extend(
        self, topic: str, group: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[LeaseFailureReason | None]:
        """See ``Engine.extend``."""
        return await self._settle_in(
            topic, leases, lambda partition, some: self._engine.extend(partition, group, some, lease_us)
        )

    async def shorten(self, topic: str, group: str, session_id: str, grace_us: int) -> None:
        """See ``Engine.shorten``."""
        await self._routing.each(topic, lambda partition: self._engine.shorten(partition, group, session_id, grace_us))

    async def expire_leases(self) -> None:
        """See ``Engine.expire_leases``."""
        await self._engine.expire_leases()
        await self._minutes.save_some()

    async def minutes(self, topic: str) -> list[MinuteOfTopic]:
        """See ``Engine.minutes``. Of all replicas; what the others have done is a few seconds late."""
        self._engine.check_started()
        return await self._minutes.read(topic)

    async def backlog(self, topic: str, group: str) -> int:
        """See ``Engine.backlog``."""
        return sum(await self._routing.each(topic, lambda partition: self._engine.backlog(partition, group)))

    async def work(self, groups: Sequence[tuple[str, str]]) -> list[int]:
        """See ``Engine.work``."""
        parts = [[(partition, group) for partition in self._routing.partitions(topic)] for topic, group in groups]
        counts = iter(await self._engine.work([part for one in parts for part in one]))
        found = [[next(counts) for _ in one] for one in parts]
        return [
            await self._work_of(topic, group) if None in numbers else sum(number or 0 for number in numbers)
            for (topic, group), numbers in zip(groups, found, strict=True)
        ]

    async def _work_of(self, topic: str, group: str) -> int:
        """As ``work``, for a topic that has other partitions than this replica knew."""
        await self._routing.refresh(topic)
        counts = await self._engine.work([(partition, group) for partition in self._routing.partitions(topic)])
        return sum(number or 0 for number in counts)

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def join(self, topic: str, group: str, subscriber: SubscriberInfo) -> bool:
        """See ``Engine.join``. If it fails part way, the groups that it created stay."""
        await self._routing.each(topic, lambda partition: self._join_in(partition, group, subscriber))
        sessions = self._engine.notifications.sessions
        session = sessions.find(self._routing.partitions(topic)[0], group, subscriber.session_id)
        return session is not None and session.is_limited

    async def _join_in(
        self, partition: Partition, group: str, subscriber: SubscriberInfo, *, existing: bool = False
    ) -> bool:
        has_joined = await self._engine.join(partition, group, subscriber, existing=existing)
        self._due_times.forget(partition, group)  # a new group may have what waited for the first one
        return has_joined

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """See ``Engine.adopt``."""
        return await self._settle_in(
            topic,
            leases,
            lambda partition, some: self._engine.adopt(partition, group, session_id, some, lease_us),
            session=(group, session_id),
        )

    async def leave(self, topic: str, group: str, session_id: str, returns_in_us: int = 0) -> None:
        """See ``Engine.leave``."""
        await self._routing.settled()
        await self._routing.each(
            topic, lambda partition: self._engine.leave(partition, group, session_id, returns_in_us)
        )

    # --- helpers ----------------------------------------------------------------------------------------------------

    async def _settle_in(
        self,
        topic: str,
        leases: Sequence[S],
        verb: Callable[[Partition, Sequence[S]], Awaitable[list[T]]],
        session: tuple[str, str] | None = None,
    ) -> list[T]:
        """Apply a verb to leases, each in its own partition, which follows from its fencing token."""

        async def settle(partitions: list[Partition]) -> list[T]:
            if len(partitions) == 1:
                return await verb(partitions[0], leases)
            by_partition: dict[int, list[int]] = defaultdict(list)
            for index, lease in enumerate(leases):
                by_partition[_fencing_token(lease) % len(partitions)].append(index)
            some = [(partitions[number], [leases[index] for index in at]) for number, at in by_partition.items()]
            answers = await all_of([verb(partition, those) for partition, those in some])
            found: dict[int, T] = {}
            for at, given in zip(by_partition.values(), answers, strict=True):
                found.update(zip(at, given, strict=True))
            return [found[index] for index in range(len(leases))]

        return await self._routing.routed(topic, settle, session)

    # --- schedules --------------------------------------------------------------------------------------------------

    async def save_schedule(self, record: ScheduleRecord, replaces: int, most: int) -> bool:  # not yet
        """See ``Engine.save_schedule``."""
        self._engine.check_started()
        return await self._schedules.save(record, replaces, most)

    async def get_schedule(self, name: str) -> ScheduleRecord:  # not yet
        """See ``Engine.get_schedule``."""
        self._engine.check_started()
        return await self._schedules.get(name)

    async def list_schedules(self, after: str, limit: int) -> list[ScheduleRecord]:  # not yet
        """See ``Engine.list_schedules``."""
        self._engine.check_started()
        return await self._schedules.page(after, limit)

    async def delete_schedule(self, name: str) -> None:  # not yet
        """See ``Engine.delete_schedule``."""
        self._engine.check_started()
        await self._schedules.delete(name)

    async def due_schedules(self, limit: int) -> DueSchedules:  # not yet
        """See ``Engine.due_schedules``."""
        self._engine.check_started()
        return await self._schedules.due(limit)

    async def fire_schedules(self, firings: Sequence[Firing]) -> list[FiringOutcome]:  # not yet
        """See ``Engine.fire_schedules``."""
        self._engine.check_started()
        outcomes = await self._schedules.fire(firings)
        for firing, outcome in zip(firings, outcomes, strict=True):
            if outcome is FiringOutcome.FIRED:
                self._minutes.dispatched(firing.record.topic, 1)
        return outcomes


def _fencing_token(lease: LeaseRef | NackRef) -> int:
    return lease.fencing_token if isinstance(lease, LeaseRef) else lease.lease.fencing_token


def _room(request: LeaseRequest, events: Sequence[LeasedEvent]) -> LeaseRequest:
    """The room that is left in a request after these events were leased."""
    if not events:
        return request
    size = sum(len(event.body) for event in events)
    return replace(
        request,
        max_events=request.max_events - len(events),
        max_bytes=request.max_bytes - size,
        at_least_one=False,
        with_suspect=request.with_suspect and not any(event.is_suspect for event in events),
    )
