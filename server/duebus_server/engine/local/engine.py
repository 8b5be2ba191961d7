"""The verbs of the local engine. Each is one synchronous step on the event loop, so atomic; a sweep is one a topic."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from duebus_server.domain.errors import DueBusError, DuplicateInitialized, NotFound
from duebus_server.domain.model import (
    AdoptedLease,
    DispatchAnswer,
    DispatchRequest,
    LeaseBatch,
    LeaseFailureReason,
    LeaseRef,
    LeaseRequest,
    NackRef,
    SubscriberInfo,
)
from duebus_server.domain.states import EventState
from duebus_server.engine.local import views
from duebus_server.engine.local.admin_verbs import AdminVerbs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duebus_server.domain.views import EventInfo, EventPage, EventQuery, TopicConfig, TopicInfo
    from duebus_server.engine.base import Watcher
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.topic import Topic

TOPICS_AT_ONCE = 100
"""A sweep takes so many before it lets others work: some hundred microseconds."""


class LocalEngine(AdminVerbs):
    """Events in the memory of this process; ``engine.base.Engine`` says what each verb guarantees.

    Not durable: what it holds goes with the process. It can't be shared by processes, and refuses to be used in a
    fork of the one that started it.
    """

    @property
    def lease_token_key(self) -> bytes:
        """Made anew with the engine: tokens of an earlier process are foreign."""
        return self._key

    async def start(self) -> None:
        """Be ready to work."""
        if self._pid is not None:
            raise DuplicateInitialized("engine local is started already", metadata={"engine": self.name})
        self._pid = os.getpid()

    async def stop(self) -> None:
        """Forget everything."""
        self._pid = None
        self._topics.clear()

    async def check(self) -> None:
        """See ``Engine.check``."""
        self._working_now()

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` from now on."""
        self._watcher = watcher

    def now_us(self) -> int:
        """The clock that came in by constructor."""
        return self._clock.now_us()

    # --- the life of an event ---------------------------------------------------------------------------------------

    async def dispatch(self, topic: str, requests: Sequence[DispatchRequest]) -> list[DispatchAnswer | DueBusError]:
        """See ``Engine.dispatch``."""
        now_us = self._working_now()
        record = self._topic(topic, now_us)
        answers = [record.dispatch(request, now_us) for request in requests]
        for group in record.groups.values():
            self._announce(topic, group)
        if record.is_idle():
            del self._topics[topic]
        return answers

    async def lease(self, topic: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        """See ``Engine.lease``."""
        now_us = self._working_now()
        record, session = self._joined(topic, group, session_id)
        config = self._topics[topic].config
        record.promote(now_us)
        lease_us = config.lease_us if request.lease_us is None else request.lease_us
        leased = record.lease(session, request, lease_us, now_us)
        self._announce_ended(record)
        self._announce_deaths(topic, record)
        left = bool(record.indexes[EventState.READY]) and not record.paused
        return LeaseBatch(leased, record.next_due(), left_for_want_of_room=left)

    async def ack(self, topic: str, group: str, leases: Sequence[LeaseRef]) -> list[LeaseFailureReason | None]:
        """See ``Engine.ack``."""
        now_us = self._working_now()
        with self._settling(topic, group) as record:
            return record.ack(leases, now_us) if record else [LeaseFailureReason.SETTLED] * len(leases)

    async def nack(self, topic: str, group: str, nacks: Sequence[NackRef]) -> list[LeaseFailureReason | None]:
        """See ``Engine.nack``."""
        now_us = self._working_now()
        with self._settling(topic, group) as record:
            if not record:
                return [LeaseFailureReason.SETTLED] * len(nacks)
            return record.nack(nacks, now_us)

    async def extend(
        self, topic: str, group: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[LeaseFailureReason | None]:
        """See ``Engine.extend``."""
        now_us = self._working_now()
        with self._settling(topic, group) as record:
            if not record:
                return [LeaseFailureReason.SETTLED] * len(leases)
            expires_us = now_us + (self._topics[topic].config.lease_us if lease_us is None else lease_us)
            return record.extend(leases, expires_us, now_us)

    async def shorten(self, topic: str, group: str, session_id: str, grace_us: int) -> None:
        """See ``Engine.shorten``."""
        now_us = self._working_now()
        with self._settling(topic, group) as record:
            if record:
                record.shorten(session_id, now_us + grace_us)

    async def expire_leases(self) -> None:
        """See ``Engine.expire_leases``. One step a topic; between some of them others have their turn."""
        self._working_now()
        for place, topic in enumerate(list(self._topics.values()), start=1):
            if self._topics.get(topic.name) is topic:  # it may have been deleted meanwhile
                self._sweep(topic, self._working_now())
            if place % TOPICS_AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._disposal.run()

    async def next_due(self, topic: str, group: str) -> int | None:
        """See ``Engine.next_due``."""
        self._working_now()
        record = self._find(topic, group)
        return record.next_due() if record else None

    async def backlog(self, topic: str, group: str) -> int:
        """See ``Engine.backlog``."""
        now_us = self._working_now()
        record = self._find(topic, group)
        if record is None:
            return 0
        record.promote(now_us)
        self._announce(topic, record)
        return len(record.indexes[EventState.READY])

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def join(self, topic: str, group: str, subscriber: SubscriberInfo) -> None:
        """See ``Engine.join``."""
        now_us = self._working_now()
        record = self._topic(topic, now_us).group(group, now_us)
        record.sessions[subscriber.session_id] = subscriber

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """See ``Engine.adopt``."""
        now_us = self._working_now()
        record, session = self._joined(topic, group, session_id)
        expires_us = now_us + (self._topics[topic].config.lease_us if lease_us is None else lease_us)
        results: list[AdoptedLease | LeaseFailureReason] = []
        for ref in leases:
            size = record.adopt(ref, session, expires_us, now_us)
            results.append(AdoptedLease(ref.fencing_token, size) if isinstance(size, int) else size)
        self._announce(topic, record)
        return results

    async def leave(self, topic: str, group: str, session_id: str) -> None:
        """See ``Engine.leave``."""
        record = self._find(topic, group)
        if record:
            record.sessions.pop(session_id, None)

    # --- what there is ---------------------------------------------------------------------------------------------

    async def queued(self) -> int:
        """See ``Engine.queued``."""
        self._working_now()
        return sum(topic.queued for topic in self._topics.values())

    async def config_of(self, topic: str) -> TopicConfig:
        """See ``Engine.config_of``."""
        self._working_now()
        record = self._topics.get(topic)
        return record.config if record else self._defaults

    async def list_topics(self, after: str, limit: int) -> list[TopicInfo]:
        """See ``Engine.list_topics``."""
        now_us = self._working_now()
        names = sorted(name for name in self._topics if name > after)[:limit]
        return [views.topic_info(self._known(name, now_us), now_us) for name in names]

    async def get_topic(self, topic: str) -> TopicInfo:
        """See ``Engine.get_topic``."""
        now_us = self._working_now()
        return views.topic_info(self._known(topic, now_us), now_us)

    async def list_events(self, topic: str, query: EventQuery) -> EventPage:
        """See ``Engine.list_events``."""
        return views.event_page(self._known(topic, self._working_now()), query)

    async def get_event(self, topic: str, event_id: str) -> EventInfo:
        """See ``Engine.get_event``."""
        return views.event_info(self._known(topic, self._working_now()), event_id)

    # --- the pieces -------------------------------------------------------------------------------------------------

    def _sweep(self, topic: Topic, now_us: int) -> None:
        if not topic.is_empty():
            for group in topic.all_groups():
                group.promote(now_us)
                self._announce(topic.name, group)
            topic.forget(now_us)
        if topic.is_idle():
            del self._topics[topic.name]

    def _joined(self, topic: str, group: str, session_id: str) -> tuple[Group, SubscriberInfo]:
        """The group, and the session that has joined it."""
        if topic not in self._topics:
            raise NotFound("topic", topic)
        record = self._find(topic, group)
        if record is None:
            raise NotFound("group", group, topic=topic)
        session = record.sessions.get(session_id)
        if session is None:
            raise NotFound("session", session_id, topic=topic, group=group)
        return record, session

    @contextmanager
    def _settling(self, topic: str, group: str) -> Iterator[Group | None]:
        """The group, if there is one, and afterwards word to the watcher of what has changed in it."""
        record = self._find(topic, group)
        yield record
        if record:
            self._announce(topic, record)
