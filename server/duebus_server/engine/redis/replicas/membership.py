"""The sessions of this replica in their groups: they join, take over leases, and leave."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from duebus_server.domain.errors import DispatcherNotWorking, InvalidArgument, Moved, NotFound, group_of_other_kind
from duebus_server.domain.model import AdoptedLease, LeaseFailureReason, LeaseRef, SubscriberInfo
from duebus_server.engine.redis.codec.leases import FAILURES, named
from duebus_server.engine.redis.replicas.sessions import Stage, Unanswered
from duebus_server.engine.redis.transport.errors import asking, is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duebus_server.engine.redis.admin.topic_index import TopicIndex
    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.replicas.ephemeral_groups import EphemeralGroups
    from duebus_server.engine.redis.replicas.group_notes import GroupNotes
    from duebus_server.engine.redis.replicas.notifications import Notifications
    from duebus_server.engine.redis.replicas.sessions import LocalSession
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

SHORTEN, RECLAIM, JOIN, LEAVE, ADOPT = map(Script, ("shorten", "reclaim", "join", "leave", "adopt"))

LATE_S = 10.0
"""How long an abandoned command may still reach Redis after a later one was answered."""


_NO_GROUP = b"none"
"""As in ``join.lua``."""


def is_unknown(reply: Sequence[Any]) -> bool:
    """Whether a script has answered that the session has not joined: with the time, and whether there is its group."""
    return len(reply) == len(("now", "has group"))


class Membership:
    """Sessions in their groups.

    Raises, in all methods:
        DispatcherNotWorking: as ``Runner.run`` does.
    """

    def __init__(
        self,
        runner: Runner,
        notes: GroupNotes,
        notifications: Notifications,
        topic_index: TopicIndex,
        ephemeral: EphemeralGroups,
    ) -> None:
        self._runner = runner
        self._ephemeral = ephemeral
        self._notes = notes
        self._notifications = notifications
        self._topic_index = topic_index

    def of(self, partition: Partition, group: str, session_id: str) -> LocalSession:
        """A session that has joined.

        Raises:
            NotFound: it has not, or has left.
        """
        session = self._notifications.sessions.find(partition, group, session_id)
        if session is None or session.is_over:
            raise NotFound("session", session_id, topic=partition.topic, group=group)
        return session

    async def join(self, partition: Partition, group: str, subscriber: SubscriberInfo, *, existing: bool) -> bool:
        """See ``Engine.join``; with ``existing``, and returning, as ``rejoin`` does."""
        session = self._notifications.sessions.add(partition, group, subscriber)
        try:
            has_joined = await self.rejoin(session, existing=existing)
        except InvalidArgument:
            self._notifications.sessions.forget(session)
            raise
        if not has_joined:
            self._notifications.sessions.forget(session)
        return has_joined

    async def rejoin(self, session: LocalSession, *, existing: bool = False) -> bool:
        """Tell Redis of a session, for the first time or anew.

        Args:
            session: which one.
            existing: do not make its group.

        Returns:
            Whether it has joined; False where its group is not there and was not to be made.

        Raises:
            NotFound: it has ended meanwhile, for example because its group was deleted.
            InvalidArgument: the group lasts, and it wants an ephemeral one, or the other way round.
        """
        # First the note by which others find its leases, should this replica die in between.
        await self._notes.add([(session.partition, session.group)])
        if session.is_over:
            raise NotFound("session", session.session_id, topic=session.partition.topic, group=session.group)
        ephemeral_us = "" if session.ephemeral_us is None else session.ephemeral_us
        own = (session.name, session.session_id, session.consumer, session.round, ephemeral_us, int(existing))
        session.stage = Stage.JOINING
        with session.awaiting(Unanswered.JOIN):
            now, is_first, *other_kind = await self._runner.run(JOIN, session.partition, session.group, *own)
        self._notifications.answered(now)
        if is_first == _NO_GROUP:
            return False
        if other_kind:
            raise group_of_other_kind(session.group, is_ephemeral=bool(other_kind[0]))
        session.joined(int(now))
        if is_first:
            await self._topic_index.is_new(session.partition.topic)
        return True

    async def not_joined(self, session: LocalSession, now: bytes, has_group: int) -> None:
        """Have a session join again that Redis has just reported as unknown, unless its group was deleted.

        Raises:
            NotFound: it was.
        """
        self._notifications.answered(now)
        if not has_group and await self.was_deleted(session):
            self._notifications.deleted(session.partition, session.group, int(now))
            raise NotFound("group", session.group, topic=session.partition.topic)
        # Taken for dead by the others, or Redis has lost it; this session is not, so it subscribes anew.
        if not await self.rejoin(session, existing=has_group == 1):
            await self.not_joined(session, now, has_group=0)

    async def look_for_group(self, session: LocalSession) -> None:
        """Redis does not know the group of a session: either its deletion was not announced, or Redis has lost it."""
        if session.joined_us is not None and await self.was_deleted(session):
            self._notifications.deleted(session.partition, session.group, session.joined_us)
        else:
            self._notifications.due_now(session.partition, session.group)

    @staticmethod
    def require_rejoin(sessions: Iterable[LocalSession]) -> None:
        """Have Redis told of these sessions again before they lease."""
        for session in sessions:
            session.forgotten()

    async def adopt(
        self, session: LocalSession, leases: Sequence[LeaseRef], lease_us: tuple[int | str, int]
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """See ``Engine.adopt``.

        Args:
            session: which has joined.
            leases: those that it holds from now on.
            lease_us: how long they last, as the scripts take it.
        """
        # Should the answer be lost, the session's end has to reach them.
        session.held.update((lease.fencing_token, lease.event_id) for lease in leases)
        partition, group = session.partition, session.group
        own = (session.name, session.consumer, *lease_us, *named(leases))
        reply = await self._runner.run(ADOPT, partition, group, *own)
        if is_unknown(reply):
            await self.not_joined(self.of(partition, group, session.session_id), *reply)
            reply = await self._runner.run(ADOPT, partition, group, *own)
        if is_unknown(reply):
            raise NotFound("session", session.session_id, topic=partition.topic, group=group)
        now, ended, results, due, expires, suspects = reply
        self._notifications.answered(now, ended)
        self._notifications.due(partition, group, due)
        self._notifications.expiries.expects(partition, group, int(expires))
        adopted: list[AdoptedLease | LeaseFailureReason] = []
        for place, (lease, result) in enumerate(zip(leases, results, strict=True)):
            if result < 0:
                session.let_go([lease.fencing_token])
                adopted.append(FAILURES[result])
            else:
                adopted.append(AdoptedLease(lease.fencing_token, result, is_suspect=place in suspects))
        return adopted

    async def reclaim(self, session: LocalSession) -> None:
        """Take back leases that Redis gave the session in a lost answer."""
        session.round += 1
        own = (session.name, session.round, *named(session.leases()))
        if await self._runner.run(RECLAIM, session.partition, session.group, *own):
            self._notifications.due_now(session.partition, session.group)
        session.unanswered.discard(Unanswered.LEASE)

    def never_heard(self, partition: Partition, group: str, session_id: str, fencing_token: int) -> None:
        """Note that a session will not learn of a lease: its next lease call takes it back."""
        session = self._notifications.sessions.find(partition, group, session_id)
        if session is not None:
            session.let_go([fencing_token])
            session.unanswered.add(Unanswered.LEASE)

    async def wind_up(self, session: LocalSession) -> None:
        """Tell Redis everything that it does not know yet of a session's end. Failures are left for the next sweep."""
        if session.stage is Stage.LEAVING:
            await self._leave(session)  # first: from then on, no late LEASE or ADOPT gives the session anything
        if Unanswered.LEASE in session.unanswered:
            await self.reclaim(session)
        if session.grace_us is not None:
            await self._shorten(session, session.grace_us)
            session.grace_us = None
        self._notifications.sessions.forget_if_done(session)

    async def wind_up_all(self) -> None:
        """Tell Redis what it does not know yet of the sessions that are over."""
        for session in [session for session in self._notifications.sessions if session.is_over]:
            try:
                await self.wind_up(session)
            except Moved:  # a closed partition holds no event, and drops its sessions
                self._notifications.sessions.forget(session)
            except DispatcherNotWorking as error:
                if is_lost(error.__cause__):
                    raise
                log.warning(
                    "a session could not leave", partition=str(session.partition), group=session.group, error=str(error)
                )

    async def was_deleted(self, session: LocalSession) -> bool:
        """Whether the group of a session, which Redis does not have, was deleted. Else Redis has lost it, or has taken
        this replica for dead; then its sessions there must join again.
        """
        partition, group = session.partition, session.group
        deleted = await self._notes.has(partition, group) and not await self._is_registered(session)
        if not deleted:
            log.warning("Redis has lost a group; its sessions join again", partition=str(partition), group=group)
            self.require_rejoin(self._notifications.sessions.in_group(partition, group))
        return deleted and session.joined_us is not None

    async def _is_registered(self, session: LocalSession) -> bool:
        """Whether Redis knows a session of a group that it does not know: a deletion leaves neither."""
        key = self._runner.keys.topic(session.partition, f"group:{session.group}:sessions")
        async with asking(session.partition.topic):
            return bool(await self._runner.connection.redis.hexists(key, session.name))

    async def _leave(self, session: LocalSession) -> None:
        place = (session.partition, session.group)
        kept_until = await self._runner.run(LEAVE, *place, session.name, session.returns_in_us)
        if int(kept_until) >= 0:
            await self._ephemeral.look_at([place], int(kept_until))
        session.left_s = session.left_s or monotonic()
        if Unanswered.JOIN in session.unanswered and monotonic() - session.left_s < LATE_S:
            return  # the next sweep sends it again
        if session.stage is Stage.LEAVING:
            session.stage = Stage.LEFT
        if session.ephemeral_us is not None:
            await self._notes.drop(*place, lambda: self._notifications.sessions.is_any_open_in(*place))

    async def _shorten(self, session: LocalSession, grace_us: int) -> None:
        partition, group = session.partition, session.group
        now, due = await self._runner.run(SHORTEN, partition, group, session.name, grace_us, *named(session.leases()))
        self._notifications.answered(now)
        self._notifications.due(partition, group, due)
        self._notifications.expiries.expects(partition, group, int(now) + grace_us)
