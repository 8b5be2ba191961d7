"""The sessions of this replica in their groups: they join, take over leases, and leave."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from duebus_server.domain.errors import (
    DispatcherNotWorking,
    InvalidArgument,
    NotFound,
    PartitionsChanging,
    group_of_other_kind,
)
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


_NO_GROUP, _OTHER_KIND = b"none", b"kind"
"""As in ``join.lua``."""


def is_unknown(reply: Sequence[Any]) -> bool:
    """Whether a script has answered that the session has not joined: the time, and whether its group exists."""
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
        """See ``Engine.join``; ``existing`` and the result are as in ``rejoin``."""
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
        """Register a session in Redis, for the first time or again.

        Args:
            session: which one.
            existing: do not create its group.

        Returns:
            Whether it has joined; False if its group does not exist and was not to be created.

        Raises:
            NotFound: it has ended meanwhile, for example because its group was deleted.
            InvalidArgument: the group is lasting and the session wants an ephemeral one, or vice versa.
        """
        # The note comes first: others find the session's leases by it if this replica dies in between.
        await self._notes.add([(session.partition, session.group)])
        if session.is_over:
            raise NotFound("session", session.session_id, topic=session.partition.topic, group=session.group)
        ephemeral_us = "" if session.ephemeral_us is None else session.ephemeral_us
        own = (session.name, session.session_id, session.consumer, session.round, ephemeral_us, int(existing))
        session.stage = Stage.JOINING
        with session.awaiting(Unanswered.JOIN):
            now, is_first, *rest = await self._runner.run(JOIN, session.partition, session.group, *own)
        self._notifications.answered(now)
        if is_first == _NO_GROUP:
            return False
        if is_first == _OTHER_KIND:
            raise group_of_other_kind(session.group, is_ephemeral=bool(rest[0]))
        session.is_limited = bool(rest[0])
        session.joined(int(now))
        if is_first:
            await self._topic_index.is_new(session.partition.topic)
        return True

    async def not_joined(self, session: LocalSession, now: bytes, has_group: int) -> None:
        """Rejoin a session that Redis has just reported as unknown, unless its group was deleted.

        Raises:
            NotFound: the group was deleted.
        """
        self._notifications.answered(now)
        if not has_group and await self.was_deleted(session):
            self._notifications.deleted(session.partition, session.group, int(now))
            raise NotFound("group", session.group, topic=session.partition.topic)
        # Redis has lost the session, or the others took this replica for dead. It is alive, so it subscribes again.
        if not await self.rejoin(session, existing=has_group == 1):
            await self.not_joined(session, now, has_group=0)

    async def handle_missing_group(self, session: LocalSession) -> None:
        """Handle a session whose group Redis does not know: its deletion was missed, or Redis has lost the group."""
        if session.joined_us is not None and await self.was_deleted(session):
            self._notifications.deleted(session.partition, session.group, session.joined_us)
        else:
            self._notifications.due_now(session.partition, session.group)

    @staticmethod
    def require_rejoin(sessions: Iterable[LocalSession]) -> None:
        """Make these sessions join again before they lease."""
        for session in sessions:
            session.require_rejoin()

    async def adopt(
        self, session: LocalSession, leases: Sequence[LeaseRef], lease_us: tuple[int | str, int]
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """See ``Engine.adopt``.

        Args:
            session: a session that has joined.
            leases: the leases that it takes over.
            lease_us: how long they last, as arguments of the script.
        """
        # Recorded first: if the answer is lost, the end of the session must still shorten them.
        held = {lease.fencing_token: session.held.get(lease.fencing_token) for lease in leases}
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
        held.update(
            (lease.fencing_token, lease.event_id) for lease, result in zip(leases, results, strict=True) if result >= 0
        )
        adopted: list[AdoptedLease | LeaseFailureReason] = []
        for index, (lease, result) in enumerate(zip(leases, results, strict=True)):
            if result < 0:
                session.not_adopted(lease, held[lease.fencing_token])
                adopted.append(FAILURES[result])
            else:
                adopted.append(AdoptedLease(lease.fencing_token, result, is_suspect=index in suspects))
        return adopted

    async def reclaim(self, session: LocalSession) -> None:
        """Take back the leases that Redis granted in an answer that was lost."""
        session.round += 1
        own = (session.name, session.round, *named(session.leases()))
        if await self._runner.run(RECLAIM, session.partition, session.group, *own):
            self._notifications.due_now(session.partition, session.group)
        session.unanswered.discard(Unanswered.LEASE)

    def take_back(self, partition: Partition, group: str, session_id: str, fencing_token: int) -> None:
        """Note that a session will not learn of a lease: its next lease call takes it back."""
        session = self._notifications.sessions.find(partition, group, session_id)
        if session is not None:
            session.drop_leases([fencing_token])
            session.unanswered.add(Unanswered.LEASE)

    async def finish_session(self, session: LocalSession) -> None:
        """Report to Redis what it does not know yet about a session's end. Failures are left to the next sweep."""
        if session.stage is Stage.LEAVING:
            await self._leave(session)  # first: after it, a late LEASE or ADOPT has no effect
        if Unanswered.LEASE in session.unanswered:
            await self.reclaim(session)
        if session.grace_us is not None:
            await self._shorten(session, session.grace_us)
            session.grace_us = None
        self._notifications.sessions.forget_if_done(session)

    async def finish_all(self) -> None:
        """Report to Redis what it does not know yet about the sessions that are over."""
        for session in [session for session in self._notifications.sessions if session.is_over]:
            try:
                await self.finish_session(session)
            except PartitionsChanging:  # a closed partition holds no events, and drops its sessions
                self._notifications.sessions.forget(session)
            except DispatcherNotWorking as error:
                if is_lost(error.__cause__):
                    raise
                log.warning(
                    "a session could not leave", partition=str(session.partition), group=session.group, error=str(error)
                )

    async def was_deleted(self, session: LocalSession) -> bool:
        """Whether a session's group that Redis does not have was deleted. If not, Redis has lost it or this replica was
        taken for dead, and the group's sessions must join again.
        """
        partition, group = session.partition, session.group
        deleted = await self._notes.has(partition, group) and not await self._is_registered(session)
        if not deleted:
            log.warning("Redis has lost a group; its sessions join again", partition=str(partition), group=group)
            self.require_rejoin(self._notifications.sessions.in_group(partition, group))
        return deleted and session.joined_us is not None

    async def _is_registered(self, session: LocalSession) -> bool:
        """Whether Redis still has the session although the group is missing. A deletion removes both."""
        key = self._runner.keys.topic(session.partition, f"group:{session.group}:sessions")
        async with asking(session.partition.topic):
            return bool(await self._runner.connection.redis.hexists(key, session.name))

    async def _leave(self, session: LocalSession) -> None:
        group = (session.partition, session.group)
        kept_until = await self._runner.run(LEAVE, *group, session.name, session.returns_in_us)
        if int(kept_until) >= 0:
            await self._ephemeral.check_at([group], int(kept_until))
        session.left_s = session.left_s or monotonic()
        if Unanswered.JOIN in session.unanswered and monotonic() - session.left_s < LATE_S:
            return  # the next sweep sends it again
        if session.stage is Stage.LEAVING:
            session.stage = Stage.LEFT
        if session.ephemeral_us is not None:
            await self._notes.drop(*group, lambda: self._notifications.sessions.is_any_open_in(*group))

    async def _shorten(self, session: LocalSession, grace_us: int) -> None:
        partition, group = session.partition, session.group
        now, due = await self._runner.run(SHORTEN, partition, group, session.name, grace_us, *named(session.leases()))
        self._notifications.answered(now)
        self._notifications.due(partition, group, due)
        self._notifications.expiries.expects(partition, group, int(now) + grace_us)
