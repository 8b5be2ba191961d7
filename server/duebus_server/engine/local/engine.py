"""The verbs of the local engine. Each is one synchronous step on the event loop, unless it says otherwise."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from duebus_server.domain.errors import (
    DispatcherNotWorking,
    DueBusError,
    DuplicateInitialized,
    InvalidArgument,
    NotFound,
    group_of_other_kind,
)
from duebus_server.domain.model import (
    AdoptedLease,
    DispatchAnswer,
    DispatchRequest,
    EngineName,
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
from duebus_server.engine.local import operations, views
from duebus_server.engine.local.disposal import Disposal
from duebus_server.engine.local.hand_over import HandOver
from duebus_server.engine.local.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duebus_server.domain.administration import (
        CancelAnswer,
        DeadLetterFilter,
        DeadLetterProgress,
        DeadLetterStep,
        NewDueTime,
        RetryPolicyChanges,
        TopicChanges,
    )
    from duebus_server.domain.clock import Clock
    from duebus_server.domain.views import (
        EventInfo,
        EventPage,
        EventQuery,
        KeyPage,
        KeyQuery,
        TopicConfig,
        TopicInfo,
    )
    from duebus_server.engine.base import Watcher
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.journal import Journal
    from duebus_server.engine.local.topic import Topic


class LocalEngine:
    """Events in the memory of this process. ``engine.base.Engine`` documents the guarantees of each verb.

    Without a journal its events are lost when the process ends. With one, each verb returns once its changes are saved,
    and events are reported to a session only once what made them leasable is saved. It can't be shared by processes,
    and does not work in a fork of the process that started it.

    Args:
        clock: the time. With a journal, the engine's clock continues where it was before a restart.
        defaults: the settings of topics that were not configured.
        journal: makes it durable.
        max_queued_bytes: how many bytes the bodies of its events may take up; 0 is unlimited.
    """

    name = EngineName.LOCAL

    def __init__(
        self, clock: Clock, defaults: TopicConfig, journal: Journal | None = None, *, max_queued_bytes: int = 0
    ) -> None:
        self._clock = clock
        self._behind_us = 0
        self._defaults = defaults
        self._journal = journal
        self._topics = Topics(defaults, journal, max_queued_bytes)
        self._disposal = Disposal()
        # Ephemeral groups that had no session when the last one left: topic and name.
        self._abandoned: set[tuple[str, str]] = set()
        self._key = secrets.token_bytes(32)
        self._pid: int | None = None

    @property
    def lease_token_key(self) -> bytes:
        """New with each engine: tokens of an earlier process are not accepted. With a journal, always the same."""
        return self._key

    async def start(self) -> None:
        """See ``Engine.start``."""
        if self._pid is not None:
            raise DuplicateInitialized("engine local is already started", metadata={"engine": self.name})
        self._pid = os.getpid()
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
        self._topics.go_on_after(recovery.last_seq)
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

    def now_us(self) -> int:
        """The clock given to the constructor, or as far behind it as before a restart."""
        return self._clock.now_us() - self._behind_us

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
        self._working_now()
        async for topic in self._topics.in_turns([topic.name for topic in self._topics]):
            self._sweep(topic, self._working_now())
        now_us = self._working_now()
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

    async def join(self, topic: str, group: str, subscriber: SubscriberInfo) -> None:
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
            self._journal.group_changed(members, claims=is_new)
        await self._saved()

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """See ``Engine.adopt``."""
        now_us = self._working_now()
        members, session = self._topics.joined(topic, group, session_id)
        expires_us = now_us + self._lease_us(topic, lease_us)
        results = [members.adopt(ref, session, expires_us, now_us) for ref in leases]
        self._topics.announce(topic, members)
        return results

    async def leave(self, topic: str, group: str, session_id: str, returns_in_us: int = 0) -> None:
        """See ``Engine.leave``."""
        members = self._topics.find_group(topic, group)
        if members and members.leave(session_id, returns_in_us, self.now_us()):
            self._abandoned.add((topic, group))

    # --- inspection -------------------------------------------------------------------------------------------------

    async def queued(self) -> int:
        """See ``Engine.queued``."""
        self._working_now()
        return sum(topic.queued for topic in self._topics)

    async def config_of(self, topic: str) -> TopicConfig:
        """See ``Engine.config_of``."""
        self._working_now()
        known = self._topics.find(topic)
        return known.config if known else self._defaults

    async def list_topics(self, after: str, limit: int) -> list[TopicInfo]:
        """See ``Engine.list_topics``. Other tasks may run in between."""
        found: list[TopicInfo] = []
        while names := self._topics.names(after, limit - len(found)):
            after = names[-1]
            async for topic in self._topics.in_turns(names):  # it may be deleted before its turn
                now_us = self._working_now()
                found.append(views.topic_info(self._topics.up_to_date(topic.name, now_us), now_us))
        self._working_now()
        return found

    async def get_topic(self, topic: str) -> TopicInfo:
        """See ``Engine.get_topic``."""
        now_us = self._working_now()
        return views.topic_info(self._topics.up_to_date(topic, now_us), now_us)

    async def list_events(self, topic: str, query: EventQuery) -> EventPage:
        """See ``Engine.list_events``."""
        known = self._topics.up_to_date(topic, self._working_now())
        page = views.event_page(known, query)
        return replace(page, events=await self._with_bodies(known, page.events))

    async def list_keys(self, topic: str, query: KeyQuery) -> KeyPage:
        """See ``Engine.list_keys``."""
        return views.key_page(self._topics.up_to_date(topic, self._working_now()), query)

    async def get_event(self, topic: str, event_id: str) -> EventInfo:
        """See ``Engine.get_event``."""
        known = self._topics.up_to_date(topic, self._working_now())
        found = await self._with_bodies(known, [views.event_info(known, event_id)])
        if not found:
            raise NotFound("event", event_id, topic=topic)
        return found[0]

    # --- administration: topics and groups --------------------------------------------------------------------------

    async def configure_topic(self, topic: str, changes: TopicChanges) -> TopicConfig:
        """See ``Engine.configure_topic``."""
        now_us = self._working_now()
        if changes.partitions not in (None, 1):
            raise InvalidArgument("config.partitions", f"is {changes.partitions}, but the local engine has only one")
        known = self._topics.find(topic)
        changes.applied_to(known.config if known else self._defaults)
        known = self._topics.obtain(topic, now_us)
        known.configure(changes)
        if self._journal is not None:
            self._journal.topic_configured(known)
        await self._saved()
        return known.config

    async def configure_group(self, topic: str, group: str, changes: RetryPolicyChanges) -> TopicConfig:
        """See ``Engine.configure_group``."""
        members = self._up_to_date_group(topic, group)
        changes.applied_to(members.retry_policy)
        members.policy_changes = members.policy_changes.then(changes) if members.policy_changes else changes
        await self._group_changed(members)
        return replace(self._topics.known(topic).config, retry_policy=members.retry_policy)

    async def delete_topic(self, topic: str) -> int:
        """See ``Engine.delete_topic``. The memory is released in pieces before it returns."""
        now_us = self._working_now()
        known = self._topics.up_to_date(topic, now_us)
        removed = known.stored
        if self._journal is not None:
            self._journal.topic_deleted(known)
        self._topics.remove(known)
        self._topics.announce_deleted(topic, None, list(known.groups.values()))
        self._disposal.add(known.dissolve(now_us))
        await self._disposal.run()
        await self._saved()
        return removed

    async def delete_group(self, topic: str, group: str) -> int:
        """See ``Engine.delete_group``. The memory is released in pieces before it returns."""
        now_us = self._working_now()
        members = self._up_to_date_group(topic, group)
        removed = len(members.entries)
        self._remove_group(self._topics.known(topic), members, now_us)
        await self._disposal.run()
        await self._saved()
        return removed

    async def pause_group(self, topic: str, group: str) -> None:
        """See ``Engine.pause_group``."""
        members = self._up_to_date_group(topic, group)
        members.paused = True
        self._topics.announce_pause(topic, group, self.now_us())
        await self._group_changed(members)

    async def resume_group(self, topic: str, group: str) -> None:
        """See ``Engine.resume_group``."""
        members = self._up_to_date_group(topic, group)
        members.paused = False
        self._topics.announce(topic, members)
        await self._group_changed(members)

    # --- administration: events -------------------------------------------------------------------------------------

    async def cancel(self, topic: str, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """See ``Engine.cancel``."""
        now_us = self._working_now()
        known = self._topics.up_to_date(topic, now_us)
        answer = operations.cancel(known, event_ids, group, now_us)
        self._topics.announce_all(known)
        await self._saved()
        return answer

    async def reschedule(self, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime) -> int:
        """See ``Engine.reschedule``."""
        now_us = self._working_now()
        known = self._topics.up_to_date(topic, now_us)
        operations.reschedule(known, event_ids, group, due, now_us)
        self._topics.announce_all(known)
        await self._saved()
        return len(event_ids)

    async def redrive(
        self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """See ``Engine.redrive``."""
        now_us = self._working_now()
        known = self._topics.up_to_date(topic, now_us)
        progress = operations.redrive(known, group, chosen, step, now_us)
        self._topics.announce_all(known)
        await self._saved()
        return progress

    async def purge(self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> DeadLetterProgress:
        """See ``Engine.purge``."""
        now_us = self._working_now()
        progress = operations.purge(self._topics.up_to_date(topic, now_us), group, chosen, step, now_us)
        await self._saved()
        return progress

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _working_now(self, *, dispatches: bool = False) -> int:
        """The time, if the engine is working.

        Args:
            dispatches: the verb stores events, which a full disk refuses before it refuses anything else.

        Raises:
            DispatcherNotWorking: it is not started, or this is a fork of the process that started it, or its journal
                can't be written.
        """
        if self._pid != os.getpid():
            raise DispatcherNotWorking("engine local is not running", metadata={"engine": self.name})
        if self._journal is not None:
            self._journal.check(dispatches=dispatches)
        now_us = self._clock.now_us() - self._behind_us
        self._topics.host.read(now_us, self._clock.host_us())
        return now_us

    async def _saved(self) -> None:
        """Return when what was changed is saved, if there is a journal."""
        if self._journal is not None:
            await self._journal.saved()

    async def _with_bodies(self, topic: Topic, infos: Sequence[EventInfo]) -> list[EventInfo]:
        """These events, those that are not in memory with their bodies; without those that are gone meanwhile."""
        on_disk = {info.event_id: event for info in infos if (event := topic.event(info.event_id)).is_on_disk}
        if self._journal is None or not on_disk:
            return list(infos)
        bodies = dict(zip(on_disk, await self._journal.read_bodies(list(on_disk.values())), strict=True))
        known = [(info, bodies.get(info.event_id, info.body)) for info in infos]
        return [replace(info, body=body) for info, body in known if body is not None]

    async def _group_changed(self, group: Group) -> None:
        """Record the settings of a group."""
        if self._journal is not None:
            self._journal.group_changed(group)
            await self._journal.saved()

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

    def _remove_group(self, topic: Topic, members: Group, now_us: int) -> None:
        """Take a group out; the disposal releases its events."""
        until_us = now_us + topic.config.dedupe_window_us
        if self._journal is not None:
            self._journal.group_deleted(members, until_us)
        topic.remove_group(members.name, until_us)
        self._topics.announce_deleted(topic.name, members.name, [members])
        self._disposal.add(topic.dissolve_group(members, now_us))

    def _remove_abandoned(self, now_us: int) -> None:
        """Remove the ephemeral groups whose time has come, and pass over those that have sessions again."""
        for group in list(self._abandoned):
            members = self._topics.find_group(*group)
            if members is not None and members.is_over(now_us):
                self._remove_group(self._topics.known(group[0]), members, now_us)
            elif members is not None and members.ephemeral and not members.sessions:
                continue
            self._abandoned.discard(group)

    def _up_to_date_group(self, topic: str, group: str) -> Group:
        """A group, after everything due in its topic has become READY.

        Raises:
            NotFound: there is no such topic or group.
        """
        self._topics.up_to_date(topic, self._working_now())
        return self._topics.known_group(topic, group)

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
