"""The verbs of the local engine. Each is one synchronous step on the event loop, unless it says otherwise."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from duebus_server.domain.errors import (
    DueBusError,
    DuplicateInitialized,
    group_of_other_kind,
)
from duebus_server.domain.model import (
    AdoptedLease,
    DispatchAnswer,
    DispatchRequest,
    LeaseBatch,
    LeasedEvent,
    LeaseFailureReason,
    LeaseRef,
    LeaseRequest,
    NackAction,
    NackRef,
    Refill,
    Reservation,
    SubscriberInfo,
)
from duebus_server.domain.states import EventState
from duebus_server.engine.local.admin import AdminVerbs
from duebus_server.engine.local.hand_over import HandOver
from duebus_server.engine.local.schedule_verbs import ScheduleVerbs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duebus_server.engine.base import StorageTimer
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.journal import Journal
    from duebus_server.engine.local.topic import Topic
    from duebus_server.engine.watcher import Watcher


class LocalEngine(AdminVerbs, ScheduleVerbs):
    """Events in the memory of this process. ``engine.base.Engine`` documents the guarantees of each verb.

    Without a journal its events are lost when the process ends. With one, each verb returns once its changes are saved,
    and events are reported to a session only once what made them leasable is saved. It can't be shared by processes,
    and does not work in a fork of the process that started it.
    """

    @property
    def lease_token_key(self) -> bytes:
        """New with each engine: tokens of an earlier process are not accepted. With a journal, always the same."""
        return self._key

    async def start(self) -> None:
        """See ``Engine.start``."""
        if self._pid is not None:
            raise DuplicateInitialized("engine local is already started", metadata={"engine": self.name})
        self._pid = os.getpid()
        self._started_us = self._clock.host_us()
        if self._journal is not None:
            try:
                await self._recover(self._journal)
            except BaseException:
                await self.stop()
                raise

    async def _recover(self, journal: Journal) -> None:
        """Bring back what the journal holds, and begin to record."""
        host_us = self._clock.host_us()
        recovery = journal.recover(self._topics, host_us)
        self._key = journal.secret
        if recovery.token:
            self._behind_us = self._clock.now_us() - max(host_us - recovery.ahead_us, recovery.last_us)
        now_us = self.now_us()
        self._topics.host.read(now_us, host_us)
        self._topics.host.tokens_after(recovery.token)
        self._topics.continue_after(recovery.last_seq)
        self._abandoned.update(recovery.finish(now_us))
        await journal.start(self._topics, self._topics.host, self.now_us)

    async def stop(self) -> None:
        """Forget everything. What is in a journal stays there."""
        self._pid = None
        if self._journal is not None:
            await self._journal.stop()
        self._topics.clear()
        self._abandoned.clear()

    async def check(self) -> None:
        """See ``Engine.check``."""
        self._working_now()

    def watch(self, watcher: Watcher) -> None:
        """See ``Engine.watch``."""
        self._topics.watcher = watcher

    def time_storage(self, timed: StorageTimer) -> None:
        """See ``Engine.time_storage``."""
        if self._journal is not None:
            self._journal.timed = timed

    def partitions(self, topic: str) -> int:  # noqa: ARG002  # as the protocol has it
        """A topic is not divided."""
        return 1

    # --- the life of an event ---------------------------------------------------------------------------------------

    async def dispatch(
        self, topic: str, requests: Sequence[DispatchRequest], reservations: Sequence[Reservation] = ()
    ) -> list[DispatchAnswer | DueBusError]:
        """See ``Engine.dispatch``."""
        now_us = self._working_now(dispatches=True)
        known = self._topics.obtain(topic, now_us)
        hand_overs = self._hand_overs(known, reservations, now_us)
        answers = [known.dispatch(request, now_us, hand_overs) for request in requests]
        for members in known.groups.values():
            if members.name not in hand_overs:
                self._topics.announce(topic, members)
        if known.is_idle():
            self._topics.remove(known)
        if hand_overs:
            await self._causes_saved([(hand_over.group, hand_over.leased) for hand_over in hand_overs.values()])
            for hand_over in hand_overs.values():
                self._topics.announce_leased(topic, hand_over.group, hand_over.session_id, hand_over.batch())
        if self._journal is not None:
            await self._journal.saved()
        return answers

    async def lease(self, topic: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        """See ``Engine.lease``."""
        now_us = self._working_now()
        members, session = self._topics.joined(topic, group, session_id)
        members.promote(now_us)
        batch = members.lease(session, request, self._lease_us(topic, request.lease_us), now_us)
        self._topics.announce_past(topic, members)
        if self._journal is not None:
            await self._causes_saved([(members, batch.events)])
        return batch

    async def ack(
        self, topic: str, group: str, leases: Sequence[LeaseRef], refill: Refill | None = None
    ) -> list[LeaseFailureReason | None]:
        """See ``Engine.ack``."""
        now_us = self._working_now()
        with self._settling(topic, group) as members:
            results = members.ack(leases, now_us) if members else _all_settled(leases)
            if refill is not None and members is not None and not any(results):
                await self._refill(members, refill, leases, now_us)
        if self._journal is not None:
            await self._journal.saved()
        return results

    async def _refill(self, members: Group, refill: Refill, settled: Sequence[LeaseRef], now_us: int) -> None:
        """Lease to a session that has reserved the room of these leases, unless it has not joined."""
        session = members.sessions.get(refill.session_id)
        if session is None:
            return
        members.promote(now_us)
        batch = members.lease(session, refill.request(settled), self._lease_us(members.topic, refill.lease_us), now_us)
        if self._journal is not None:
            await self._causes_saved([(members, batch.events)])
        self._topics.announce_leased(members.topic, members, refill.session_id, batch)

    async def nack(self, topic: str, group: str, nacks: Sequence[NackRef]) -> list[LeaseFailureReason | None]:
        """See ``Engine.nack``."""
        now_us = self._working_now()
        with self._settling(topic, group) as members:
            results = members.nack(nacks, now_us) if members else _all_settled(nacks)
        if self._journal is not None:
            await self._journal.saved()
        return results

    async def extend(
        self, topic: str, group: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[LeaseFailureReason | None]:
        """See ``Engine.extend``."""
        now_us = self._working_now()
        with self._settling(topic, group) as members:
            if not members:
                return [LeaseFailureReason.SETTLED] * len(leases)
            return members.extend(leases, now_us + self._lease_us(topic, lease_us), now_us)

    async def shorten(self, topic: str, group: str, session_id: str, grace_us: int) -> None:
        """See ``Engine.shorten``."""
        now_us = self._working_now()
        with self._settling(topic, group) as members:
            if members:
                members.shorten(session_id, now_us + grace_us)

    async def expire_leases(self) -> None:
        """See ``Engine.expire_leases``. One step a topic; other tasks may run in between."""
        due = self._topics.sweeps.due(self._working_now())
        async for topic in self._topics.in_turns([topic.name for topic in due]):
            self._sweep(topic, self._working_now())
        now_us = self._working_now()
        self._announce_schedules()
        self._remove_abandoned(now_us)
        if self._journal is not None:
            self._journal.sweep(self._topics.host)
        await self._disposal.run()

    async def backlog(self, topic: str, group: str) -> int:
        """See ``Engine.backlog``."""
        now_us = self._working_now()
        members = self._topics.find_group(topic, group)
        if members is None:
            return 0
        members.promote(now_us)
        self._topics.announce(topic, members)
        return members.indexes.count(EventState.READY)

    async def work(self, groups: Sequence[tuple[str, str]]) -> list[int]:
        """See ``Engine.work``."""
        now_us = self._working_now()
        return [self._topics.work(topic, group, now_us) for topic, group in groups]

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def join(self, topic: str, group: str, subscriber: SubscriberInfo) -> bool:
        """See ``Engine.join``."""
        now_us = self._working_now()
        ephemeral = subscriber.ephemeral_us is not None
        known = self._topics.obtain(topic, now_us)
        is_new = group not in known.groups
        members = known.group(group, now_us, ephemeral=ephemeral)
        if members.ephemeral != ephemeral:
            raise group_of_other_kind(group, is_ephemeral=members.ephemeral)
        members.sessions[subscriber.session_id] = subscriber
        kept_us = max(members.kept_us, subscriber.ephemeral_us or 0)
        if self._journal is not None and (is_new or kept_us > members.kept_us):
            members.kept_us = kept_us
            self._journal.recording.group_changed(members, claims=is_new)
        await self._saved()
        return members.config.is_limited

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """See ``Engine.adopt``."""
        now_us = self._working_now()
        members, session = self._topics.joined(topic, group, session_id)
        expires_us = now_us + self._lease_us(topic, lease_us)
        oldest_first = sorted(leases, key=lambda ref: ref.fencing_token)
        results = {ref: members.adopt(ref, session, expires_us, now_us) for ref in oldest_first}
        self._topics.announce(topic, members)
        return [results[ref] for ref in leases]

    async def leave(self, topic: str, group: str, session_id: str, returns_in_us: int = 0) -> None:
        """See ``Engine.leave``."""
        members = self._topics.find_group(topic, group)
        if members and members.leave(session_id, returns_in_us, self.now_us()):
            self._abandoned.add((topic, group))

    # --- helpers ----------------------------------------------------------------------------------------------------

    async def _causes_saved(self, batches: Sequence[tuple[Group, Sequence[LeasedEvent]]]) -> None:
        """Return when these leases may be reported to sessions. If they can't be, the leases are released."""
        if self._journal is None:
            return
        try:
            await self._journal.causes_saved(batches)
        except BaseException:
            for group, leased in batches:
                refs = [LeaseRef(one.event_id, one.fencing_token) for one in leased]
                group.nack([NackRef(ref, NackAction.RELEASE) for ref in refs], self.now_us())
                self._topics.find(group.topic)  # a sweep may have checked it meanwhile, and has to do so again
                self._topics.announce(group.topic, group)
            raise

    def _lease_us(self, topic: str, asked_us: int | None) -> int:
        """How long a lease lasts: as requested, or the topic's setting."""
        return self._topics.known(topic).config.lease_us if asked_us is None else asked_us

    def _hand_overs(self, topic: Topic, reservations: Sequence[Reservation], now_us: int) -> dict[str, HandOver]:
        """The hand-overs of a dispatch by group; none for a session that has not joined."""
        found: dict[str, HandOver] = {}
        for reservation in reservations:
            members = topic.groups.get(reservation.group)
            session = members.sessions.get(reservation.session_id) if members else None
            if members is not None and session is not None:
                members.promote(now_us)
                lease_us = self._lease_us(topic.name, reservation.request.lease_us)
                found[members.name] = HandOver(members, session, reservation.request, lease_us, now_us)
        return found

    def _sweep(self, topic: Topic, now_us: int) -> None:
        if not topic.is_empty():
            for members in topic.all_groups():
                members.promote(now_us)
                self._topics.announce(topic.name, members)
                if self._journal is not None:
                    self._journal.prefetch(members, now_us, self._topics.host.ahead_us)
            topic.forget(now_us)
        if topic.is_idle():
            self._topics.remove(topic)
        else:
            ahead_us = 0 if self._journal is None else self._journal.prefetch_us
            self._topics.sweeps.checked(topic, topic.next_sweep(ahead_us))

    def _remove_abandoned(self, now_us: int) -> None:
        """Remove the ephemeral groups whose time has come, and pass over those that have sessions again."""
        for group in list(self._abandoned):
            members = self._topics.find_group(*group)
            if members is not None and members.is_over(now_us):
                self._remove_group(self._topics.known(group[0]), members, now_us)
            elif members is not None and members.ephemeral and not members.sessions:
                continue
            self._abandoned.discard(group)

    @contextmanager
    def _settling(self, topic: str, group: str) -> Iterator[Group | None]:
        """The group, if there is one. Afterwards its changes are reported to the watcher."""
        members = self._topics.find_group(topic, group)
        yield members
        if members:
            self._topics.announce(topic, members)


def _all_settled(leases: Sequence[object]) -> list[LeaseFailureReason | None]:
    """The results of leases in a group that is gone."""
    return [LeaseFailureReason.SETTLED for _ in leases]
