"""The verbs of the redis engine on one partition. Each is one script, and so one atomic step."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import structlog

from duebus_server.domain.actions import KEPT_ACTIONS
from duebus_server.domain.engine_info import EngineInfo
from duebus_server.domain.errors import DispatcherNotWorking, DueBusError, DuplicateInitialized
from duebus_server.domain.model import (
    AdoptedLease,
    DispatchAnswer,
    DispatchRequest,
    EngineName,
    LeaseBatch,
    LeaseFailureReason,
    LeaseRef,
    LeaseRequest,
    NackRef,
    NewEvent,
    Reservation,
    SubscriberInfo,
)
from duebus_server.engine.redis.admin.deletion import Deletions
from duebus_server.engine.redis.admin.retention import Retention
from duebus_server.engine.redis.admin.topic_index import TopicIndex
from duebus_server.engine.redis.admin.verbs import AdminVerbs
from duebus_server.engine.redis.admin.views import Views
from duebus_server.engine.redis.codec import dispatch as dispatching
from duebus_server.engine.redis.codec import leases as leasing
from duebus_server.engine.redis.codec.actions import pack_action, unpack_actions
from duebus_server.engine.redis.replicas.ephemeral_groups import EphemeralGroups
from duebus_server.engine.redis.replicas.group_notes import GroupNotes
from duebus_server.engine.redis.replicas.listing import living_replicas
from duebus_server.engine.redis.replicas.membership import Membership, is_unknown
from duebus_server.engine.redis.replicas.notifications import Notifications
from duebus_server.engine.redis.replicas.presence import Presence
from duebus_server.engine.redis.replicas.reactions import Reactions
from duebus_server.engine.redis.replicas.restoration import Restoration
from duebus_server.engine.redis.replicas.schedule_times import ScheduleTimes
from duebus_server.engine.redis.replicas.sessions import Stage, Unanswered
from duebus_server.engine.redis.replicas.sweeping import Sweeping
from duebus_server.engine.redis.transport.errors import asking, is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duebus_server.domain.actions import Action
    from duebus_server.domain.views import EventInfo, EventQuery, KeyInfo, TopicConfig, TopicInfo
    from duebus_server.engine.redis.admin.views import Listing
    from duebus_server.engine.redis.locks import Locks
    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.replicas.layouts import Layouts
    from duebus_server.engine.redis.replicas.notifications import PartitionWatcher
    from duebus_server.engine.redis.replicas.sessions import LocalSession
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

# What a dispatch does not need is not sent: a session that has reserved room, and an event with a key.
DISPATCH = {
    (has_reservation, has_key): Script(
        "dispatch",
        without=[*(() if has_reservation else ["hand_over"]), *(() if has_key else ["ordering", "slots", "admission"])],
    )
    for has_reservation in (False, True)
    for has_key in (False, True)
}
LEASE, ACK, NACK, EXTEND, EXPIRE = map(Script, ("lease", "ack", "nack", "extend", "expire"))
ACK_AND_LEASE, PAUSE_FOR = map(Script, ("ack_and_lease", "pause_for"))

_LEFT, _PAUSED = 1, 2
"""As in ``lease.lua``: something is left for lack of room; the group is paused."""

MAX_LEASED_AT_ONCE = 1_000
"""The most events in one call, because a script blocks Redis while it runs."""


class RedisEngine(AdminVerbs):
    """The verbs of ``engine.base.Engine`` on topics of one partition, and on single partitions.

    Args:
        runner: runs scripts; its connection is closed by ``stop``.
        locks: the locks of the bus.
        layouts: the layouts that are written and read.
        defaults: the settings of topics.

    Attributes:
        notifications: reports to the watcher.
        topic_index: the listed topics.
        members: the sessions of this replica.
        views: reads for operators.
        retention: removes old dead letters.
        deletions: deletes groups and topics.
        ephemeral: ephemeral groups that have lost their last session.
        schedule_times: when schedules are due.
    """

    name = EngineName.REDIS

    def __init__(self, runner: Runner, locks: Locks, layouts: Layouts, defaults: TopicConfig) -> None:
        self._runner = runner
        self._layouts = layouts
        self._defaults = defaults
        self.notifications = Notifications(runner)
        self.topic_index = TopicIndex(runner)
        notes = GroupNotes(runner)
        self.views = Views(runner, self.topic_index, defaults, self.notifications.answered)
        self.retention = Retention(runner, self.topic_index, defaults)
        self._sweeping = Sweeping(runner)
        self._restoration = Restoration(runner, self.notifications, defaults.lease_us)
        self.deletions = Deletions(runner, self.notifications, self.topic_index, self.retention)
        self.ephemeral = EphemeralGroups(runner, self.deletions)
        self.members = Membership(runner, notes, self.notifications, self.topic_index, self.ephemeral)
        self.schedule_times = ScheduleTimes(runner, self.notifications)
        reactions = Reactions(
            runner, self.notifications, self.topic_index, self.retention, self.members, notes, self.schedule_times
        )
        self._presence = Presence(runner, locks, layouts, reactions, self.ephemeral)
        self._secret = b""

    @property
    def lease_token_key(self) -> bytes:
        """Made by the first replica of the bus and kept in Redis; known once the engine is started."""
        return self._secret

    async def start(self) -> None:
        """Start the engine."""
        if self._runner.is_working:
            raise DuplicateInitialized("engine redis is already started", metadata={"engine": self.name})
        try:
            await self._runner.check_server()
            await self._layouts.check()
            self._secret = await self._runner.secret()
            await self._presence.start()
        except BaseException:
            await self._presence.abandon()
            await self._runner.connection.close()
            raise
        self._runner.is_working = True

    async def stop(self) -> None:
        """Close the connections."""
        if self._runner.is_working:
            self._runner.is_working = False
            await self._presence.stop()
            await self._runner.connection.close()

    async def check(self) -> None:
        """See ``Engine.check``."""
        self.check_started()
        await self._runner.ping()

    def watch(self, watcher: PartitionWatcher) -> None:
        """Set the watcher."""
        self.notifications.watcher = watcher

    def now_us(self) -> int:
        """Redis's clock, estimated from its answers."""
        return self._runner.now_us()

    # --- the life of an event ---------------------------------------------------------------------------------------

    async def dispatch(
        self, partition: Partition, requests: Sequence[DispatchRequest], reservations: Sequence[Reservation] = ()
    ) -> list[DispatchAnswer | DueBusError]:
        """See ``Engine.dispatch``."""
        self.check_started()
        await self.topic_index.before(partition.topic)
        reserved = self._reserved(partition, reservations)
        config = self._defaults
        arguments: list[Any] = [config.max_queued, config.dedupe_window_us, len(reserved)]
        for session, request in reserved:
            arguments += (session.group, *self._request_arguments(session, request))
        arguments.append(len(requests))
        for one in requests:
            arguments += dispatching.arguments(one)
        has_key = any(event.key for request in requests for event in request.events)
        script = DISPATCH[bool(reserved), has_key]
        with self._awaiting_leases([session for session, _ in reserved]):
            if self._runner.min_replicas_ack:
                reply, problem = await self._runner.run_replicated(script, partition, *arguments)
            else:
                reply, problem = await self._runner.run(script, partition, *arguments), None
        now, dues, answers, is_new, hand_overs = reply
        self.notifications.answered(now)
        if reserved:
            self._hand_over(
                [session for session, _ in reserved],
                hand_overs,
                int(now),
                dispatching.due_events(requests, answers, int(now)),
            )
        for group, due in zip(dues[::2], dues[1::2], strict=True):
            self.notifications.due(partition, group.decode(), due)
        if is_new:
            await self.topic_index.is_new(partition.topic)
        if problem is not None:
            raise problem
        return [
            dispatching.outcome(partition, request, answer) for request, answer in zip(requests, answers, strict=True)
        ]

    def _reserved(
        self, partition: Partition, reservations: Sequence[Reservation]
    ) -> list[tuple[LocalSession, LeaseRequest]]:
        """The sessions that have reserved room, without those that first have to join or to take leases back."""
        found = [
            (self.notifications.sessions.find(partition, one.group, one.session_id), one.request)
            for one in reservations
        ]
        return [
            (session, request)
            for session, request in found
            if session and session.stage is Stage.JOINED and Unanswered.LEASE not in session.unanswered
        ]

    @contextmanager
    def _awaiting_leases(self, sessions: Sequence[LocalSession]) -> Iterator[None]:
        """Wraps a step that may lease to these sessions. If its answer is lost, their next lease takes back what it may
        have leased.
        """
        with ExitStack() as stack:
            for session in sessions:
                stack.enter_context(session.awaiting(Unanswered.LEASE))
            try:
                yield
            except BaseException:
                for session in sessions:
                    self.notifications.due_now(session.partition, session.group)
                raise

    def _hand_over(
        self, sessions: Sequence[LocalSession], hand_overs: Sequence[Any], now_us: int, due: Sequence[NewEvent]
    ) -> None:
        """Report what a dispatch has leased to these sessions."""
        for session, one in zip(sessions, hand_overs, strict=True):
            if not one or session.is_over:
                continue
            partition, group = session.partition, session.group
            batch = dispatching.handed_over(one, due, partition.count, now_us)
            session.held.update([(event.fencing_token, event.event_id) for event in batch.events])
            if batch.events:
                self.notifications.expiries.expects(partition, group, batch.events[0].lease_expires_us)
            self.notifications.leased(partition, group, session.session_id, batch)

    async def lease(self, partition: Partition, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        """See ``Engine.lease``."""
        self.check_started()
        session = self.members.of(partition, group, session_id)
        if session.stage is not Stage.JOINED:
            await self.members.rejoin(session)
        if Unanswered.LEASE in session.unanswered:
            await self.members.reclaim(session)
        with session.awaiting(Unanswered.LEASE):
            reply = await self._runner.run(
                LEASE, partition, group, *self._request_arguments(session, request), self._max_retries
            )
        if is_unknown(reply):
            await self.members.not_joined(session, *reply)
            return LeaseBatch((), self.now_us())
        return await self._leased(session, reply)

    async def _leased(self, session: LocalSession, reply: Sequence[Any]) -> LeaseBatch:
        """Record what ``lease.lua`` has leased to a session."""
        partition, group = session.partition, session.group
        now, next_due, left, first_fence, expires, ended, ids, blobs, dues, again, suspect, suspect_due = reply
        self.notifications.answered(now, ended)
        stride = partition.count
        fences = range(first_fence, first_fence + stride * len(blobs), stride)
        events, damaged = leasing.leased_events(ids, blobs, dues, again, fences, int(expires), suspect)
        session.held.update([(event.fencing_token, event.event_id) for event in events])
        if damaged:
            await self._make_dead(session, damaged)
            next_due = now  # there may be room for more
        if events:
            self.notifications.expiries.expects(partition, group, int(expires))
        return LeaseBatch(
            events, leasing.read_time(next_due), left == _LEFT, left == _PAUSED, leasing.read_time(suspect_due)
        )

    async def _make_dead(self, session: LocalSession, damaged: Sequence[NackRef]) -> None:
        """Turn unreadable events into dead letters. If that fails, the session's next lease takes them back."""
        log.error("damaged events are dead", partition=str(session.partition), group=session.group, count=len(damaged))
        session.unanswered.add(Unanswered.LEASE)
        try:
            await self.nack(session.partition, session.group, damaged)
        except DispatcherNotWorking as error:  # the session must still get what was leased with them
            log.warning(
                "damaged events are still leased",
                partition=str(session.partition),
                group=session.group,
                error=str(error),
            )
        else:
            session.unanswered.discard(Unanswered.LEASE)

    async def ack(
        self, partition: Partition, group: str, leases: Sequence[LeaseRef], reservations: Sequence[Reservation] = ()
    ) -> list[LeaseFailureReason | None]:
        """See ``Engine.ack``."""
        arguments = (group, self._defaults.dedupe_window_us, *leasing.named(leases))
        reserved = self._reserved(partition, reservations)
        if reserved:
            results = await self._ack_and_lease(partition, *reserved[0], arguments)
        else:
            results = self._settled(partition, group, await self._runner.run(ACK, partition, *arguments))
        return results or [None] * len(leases)

    async def _ack_and_lease(
        self, partition: Partition, session: LocalSession, request: LeaseRequest, arguments: Sequence[Any]
    ) -> list[LeaseFailureReason | None]:
        """Run an ack that also leases to a session. Returns the results of the ack; empty if all succeeded."""
        with self._awaiting_leases([session]):
            reply, *leased = await self._runner.run(
                ACK_AND_LEASE, partition, *arguments, *self._request_arguments(session, request), self._max_retries
            )
        results = self._settled(partition, session.group, reply)
        for lease in leased:
            if not lease:
                session.unanswered.add(Unanswered.LEASE)  # it may have leased something before it failed
            elif not is_unknown(lease) and not session.is_over:
                batch = await self._leased(session, lease)
                self.notifications.leased(partition, session.group, session.session_id, batch)
        return results

    async def nack(self, partition: Partition, group: str, nacks: Sequence[NackRef]) -> list[LeaseFailureReason | None]:
        """See ``Engine.nack``."""
        policy = self._defaults.retry_policy
        backoff = (policy.max_retries, policy.backoff_initial_us, policy.backoff_max_us)
        script = NACK.whole if any(nack.pause for nack in nacks) else NACK
        reply = await self._runner.run(script, partition, group, *backoff, *leasing.nack_fields(nacks))
        return self._settled(partition, group, reply)

    async def pause_for(self, partition: Partition, group: str, duration_us: int) -> None:
        """Pause a group in this partition, as a nack does in its own."""
        await self._runner.run(PAUSE_FOR.whole, partition, group, duration_us)

    async def extend(
        self, partition: Partition, group: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[LeaseFailureReason | None]:
        """See ``Engine.extend``."""
        reply = await self._runner.run(EXTEND, partition, group, *self._lease(lease_us), *leasing.named(leases))
        return self._settled(partition, group, reply)

    async def shorten(self, partition: Partition, group: str, session_id: str, grace_us: int) -> None:
        """See ``Engine.shorten``."""
        self.check_started()
        session = self.notifications.sessions.find(partition, group, session_id)
        if session is not None:
            session.grace_us = grace_us
            await self.members.finish_session(session)

    async def expire_leases(self) -> None:
        """See ``Engine.expire_leases``. Checks only groups in which a known lease may have run out."""
        self.check_started()
        await self.members.finish_all()
        for partition, group in self.notifications.expiries.due(self.now_us()):
            with self._bad_group(partition, group):
                await self._expire(partition, group)
        found = await self._sweeping.check(self.notifications.sessions)
        for partition, group in [*found.leasable, *found.closed]:
            self.notifications.due_now(partition, group)
        for session in found.miscounted:
            with self._bad_group(session.partition, session.group):
                self.notifications.ended(session.name, await self._sweeping.lost(session))
        for session in found.without_group:
            with self._bad_group(session.partition, session.group):
                await self.members.handle_missing_group(session)
        for partition in self._restoration.next(found.doubtful):
            with self._bad_group(partition, ""):
                await self._restoration.check(partition)
        self.schedule_times.report()
        await self.retention.sweep()
        await self.ephemeral.remove()
        await self.deletions.finish()

    async def backlog(self, partition: Partition, group: str) -> int:
        """See ``Engine.backlog``."""
        self.check_started()
        return await self.views.backlog(partition, group)

    async def work(self, groups: Sequence[tuple[Partition, str]]) -> list[int | None]:
        """See ``Engine.work``; None where the partition is closed."""
        self.check_started()
        return await self.views.work(groups)

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def join(
        self, partition: Partition, group: str, subscriber: SubscriberInfo, *, existing: bool = False
    ) -> bool:
        """See ``Engine.join``; ``existing`` and the result are as in ``Membership.rejoin``."""
        self.check_started()
        await self.topic_index.before(partition.topic)
        return await self.members.join(partition, group, subscriber, existing=existing)

    async def adopt(
        self, partition: Partition, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """See ``Engine.adopt``."""
        self.check_started()
        session = self.members.of(partition, group, session_id)
        return await self.members.adopt(session, leases, self._lease(lease_us))

    async def leave(self, partition: Partition, group: str, session_id: str, returns_in_us: int) -> None:
        """See ``Engine.leave``."""
        session = self.notifications.sessions.find(partition, group, session_id)
        if session is None:
            return
        session.stream_over(returns_in_us)
        if self._runner.is_working:
            await self.members.finish_session(session)

    # --- inspection -------------------------------------------------------------------------------------------------

    async def describe(self) -> EngineInfo:
        """See ``Engine.describe``."""
        self.check_started()
        replicas = await living_replicas(self._runner)
        async with asking(""):
            return EngineInfo(replicas, self._layouts.written, await self._runner.connection.servers())

    async def keep_action(self, action: Action) -> None:
        """See ``Engine.keep_action``."""
        self.check_started()
        redis, key = self._runner.connection.redis, self._runner.keys.actions
        async with asking(""):
            await redis.lpush(key, pack_action(action))
            await redis.ltrim(key, 0, KEPT_ACTIONS - 1)

    async def actions(self) -> list[Action]:
        """See ``Engine.actions``."""
        self.check_started()
        async with asking(""):
            stored = await self._runner.connection.redis.lrange(self._runner.keys.actions, 0, KEPT_ACTIONS - 1)
        return unpack_actions(stored)

    def fair_share(self, streams: int | None) -> int:
        """See ``Engine.fair_share``."""
        return self._presence.fair_share(streams)

    async def config_of(self, topic: str) -> TopicConfig:
        """See ``Engine.config_of``."""
        self.check_started()
        return await self.views.config_of(topic)

    async def get_topic(self, partition: Partition) -> TopicInfo:
        """See ``Engine.get_topic``."""
        self.check_started()
        return await self.views.get_topic(partition)

    async def get_topics(self, partitions: Sequence[Partition]) -> list[TopicInfo | None]:
        """See ``Views.get_topics``."""
        self.check_started()
        return await self.views.get_topics(partitions)

    async def list_with_places(self, partition: Partition, query: EventQuery) -> Listing:
        """A page of events as in ``Engine.list_events``, with their sort keys."""
        self.check_started()
        return await self.views.list_with_places(partition, query)

    async def list_keys(self, partition: Partition, group: str) -> list[KeyInfo]:
        """Every key of a group that has a head, in no order."""
        self.check_started()
        return await self.views.list_keys(partition, group)

    async def get_event(self, partition: Partition, event_id: str) -> EventInfo:
        """See ``Engine.get_event``."""
        self.check_started()
        return await self.views.get_event(partition, event_id)

    # --- helpers ----------------------------------------------------------------------------------------------------

    def check_started(self) -> None:
        """As ``Runner.check_working``."""
        self._runner.check_working()

    def _lease(self, asked_us: int | None) -> tuple[int | str, int]:
        """The requested lease ('' for the topic's) and the server's, as arguments of the scripts."""
        return "" if asked_us is None else asked_us, self._defaults.lease_us

    def _request_arguments(self, session: LocalSession, request: LeaseRequest) -> tuple[int | str, ...]:
        """A session and what it can take, as arguments of the scripts that lease."""
        return (
            session.name,
            session.consumer,
            min(request.max_events, MAX_LEASED_AT_ONCE),
            request.max_bytes,
            int(request.at_least_one),
            *self._lease(request.lease_us),
            session.round,
            int(request.with_suspect),
            int(request.stalled),
        )

    def _settled(self, partition: Partition, group: str, reply: Sequence[Any]) -> list[LeaseFailureReason | None]:
        """Report a settling script's answer to the watcher. Returns its results; empty if all succeeded."""
        now, ended, results, due = reply
        self.notifications.answered(now, ended)
        self.notifications.due(partition, group, due)
        return [leasing.FAILURES.get(result) for result in results]

    async def _expire(self, partition: Partition, group: str) -> None:
        now, ended, next_expiry, due = await self._runner.run(EXPIRE, partition, group, self._max_retries)
        self.notifications.answered(now, ended)
        self.notifications.due(partition, group, due)
        self.notifications.expiries.checked(partition, group, leasing.read_time(next_expiry))

    @contextmanager
    def _bad_group(self, partition: Partition, group: str) -> Iterator[None]:
        """Skips a group that Redis can't work on, but raises if Redis can't be reached."""
        try:
            yield
        except DispatcherNotWorking as error:
            if is_lost(error.__cause__):
                raise
            log.warning("group skipped", partition=str(partition), group=group, error=str(error))
