"""What the redis engine shows of itself: topics, groups and events from outside."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

from duebus_server.domain.errors import InvalidArgument, NotFound
from duebus_server.domain.model import DEFAULT_GROUP, SubscriberInfo
from duebus_server.domain.states import EventState
from duebus_server.domain.views import (
    MAX_HISTORY,
    Attempt,
    AttemptOutcome,
    EventGroupInfo,
    EventInfo,
    EventPage,
    EventQuery,
    GroupInfo,
    Rates,
    TopicInfo,
)
from duebus_server.engine.redis.errors import asking
from duebus_server.engine.redis.packing import CorruptEventError, StoredBlob, pack_id, unpack_id
from duebus_server.engine.redis.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from duebus_server.domain.retry import RetryPolicy
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.redis.runner import Runner

TOPIC_INFO, LIST_EVENTS, GET_EVENT, BACKLOG = map(Script, ("topic_info", "list_events", "get_event", "backlog"))

_STATES = (EventState.SCHEDULED, EventState.READY, EventState.LEASED, EventState.DEAD)
_OUTCOMES = (
    AttemptOutcome.UNDER_WAY,
    AttemptOutcome.NACKED,
    AttemptOutcome.DEAD,
    AttemptOutcome.RELEASED,
    AttemptOutcome.EXPIRED,
)
_SUBSCRIBER_FIELDS = 4
_ATTEMPT_FIELDS = 6


class Views:
    """Reads of one bus. Leases that have run out are ended by a look, so that what is seen is as of now.

    Args:
        heard: told what time it was by Redis, and which leases have ended.
    """

    def __init__(self, runner: Runner, defaults: TopicConfig, heard: Callable[[bytes, Sequence[bytes]], None]) -> None:
        self._runner = runner
        self._defaults = defaults
        self._heard = heard

    async def queued(self) -> int:
        """Events of all topics, dead letters not counted."""
        infos = [await self._info(topic) for topic in await self._topics()]
        return sum(info.queued for info in infos if info is not None)

    async def backlog(self, topic: str, group: str) -> int:
        """Ready events of a group."""
        (ready,) = await self._look(BACKLOG, topic, group, self._max_retries)
        return int(ready)

    async def list_topics(self, after: str, limit: int) -> list[TopicInfo]:
        """Topics by name."""
        found: list[TopicInfo] = []
        for topic in sorted(name for name in await self._topics() if name > after):
            if len(found) == limit:
                break
            info = await self._info(topic)
            if info is not None:
                found.append(info)
        return found

    async def get_topic(self, topic: str) -> TopicInfo:
        """One topic."""
        info = await self._info(topic)
        if info is None:
            raise NotFound("topic", topic)
        return info

    async def list_events(self, topic: str, query: EventQuery) -> EventPage:
        """A page of events."""
        group = await self._group(topic, query.group)
        score, member = _read_cursor(query.cursor)
        shape = (query.state, int(query.newest_first), query.limit, query.max_bytes)
        reply = await self._look(LIST_EVENTS, topic, group, *shape, score, member, self._max_retries)
        if reply is None:
            raise NotFound("group", group, topic=topic)
        more, entries = reply
        events = [self._listed(group, query.state, *entry) for entry in entries]
        return EventPage(events, _cursor(entries[-1]) if more else None)

    async def get_event(self, topic: str, event_id: str) -> EventInfo:
        """One event's story."""
        reply = await self._look(GET_EVENT, topic, pack_id(event_id), self._max_retries)
        if reply is None:
            if await self._info(topic) is None:
                raise NotFound("topic", topic)
            raise NotFound("event", event_id, topic=topic)
        blob, groups = reply
        stored = _stored(pack_id(event_id), blob)
        return _event_info(event_id, stored, [self._story(stored, *group) for group in groups])

    async def _topics(self) -> list[str]:
        async with asking(""):
            names = await self._runner.connection.redis.smembers(self._runner.keys.topics)
        return [name.decode() for name in names]

    async def _info(self, topic: str) -> TopicInfo | None:
        reply = await self._look(TOPIC_INFO, topic, self._max_retries)
        if reply is None:
            return None
        queued, groups = reply
        now_us = self._runner.now_us()
        policy = self._defaults.retry_policy
        return TopicInfo(topic, self._defaults, queued, [_group_info(policy, now_us, *group) for group in groups])

    @property
    def _max_retries(self) -> int:
        return self._defaults.retry_policy.max_retries

    async def _look(self, script: Script, topic: str, *arguments: Any) -> Any:
        """Run a script that reads; None when there is no such thing."""
        reply = await self._runner.run(script, topic, *arguments)
        if reply is None:
            return None
        now, ended, *rest = reply
        self._heard(now, ended)
        return rest

    async def _group(self, topic: str, name: str) -> str:
        """The group that a name in a request means."""
        info = await self.get_topic(topic)
        return "" if not name and [group.group for group in info.groups] == [""] else name or DEFAULT_GROUP

    def _listed(self, group: str, state: EventState, member: bytes, score: bytes, blob: bytes, *rest: Any) -> EventInfo:
        stored = _stored(member[4:], blob)
        where = self._where(group, state, stored, int(float(score)), *rest)
        return _event_info(unpack_id(member[4:]), stored, [where])

    def _story(self, stored: StoredBlob | None, group: bytes, state: bytes, score: bytes, *rest: Any) -> EventGroupInfo:
        at_us = int(float(score))
        return self._where(group.decode(), EventState(state.decode()), stored, at_us, *rest)

    def _where(
        self,
        group: str,
        state: EventState,
        stored: StoredBlob | None,
        at_us: int,
        attempts: int,
        deliver_at: bytes,
        last_error: bytes,
        consumer: bytes,
        history: Sequence[Any] = (),
    ) -> EventGroupInfo:
        own = stored.max_retries if stored else None
        return EventGroupInfo(
            group=group,
            state=state,
            attempts=attempts,
            max_retries=self._max_retries if own is None else own,
            deliver_at_us=int(float(deliver_at)),
            last_error=last_error.decode(),
            lease_expires_us=at_us if state is EventState.LEASED else None,
            consumer=consumer.decode(),
            dead_us=at_us if state is EventState.DEAD else None,
            history=list(_attempts(history))[-MAX_HISTORY:],
        )


def _event_info(event_id: str, stored: StoredBlob | None, groups: Sequence[EventGroupInfo]) -> EventInfo:
    if stored is None:
        return EventInfo(event_id, b"", 0, "", groups)
    return EventInfo(event_id, stored.body(event_id), stored.dispatched_us, stored.origin, groups)


def _stored(packed_id: bytes, blob: bytes) -> StoredBlob | None:
    """What is stored, or None where it is corrupt: it is still listed, so that it can be found and purged."""
    try:
        return StoredBlob(packed_id, blob)
    except CorruptEventError:
        return None


def _group_info(
    retry_policy: RetryPolicy,
    now_us: int,
    name: bytes,
    paused: int,
    scheduled: int,
    ready: int,
    leased: int,
    dead: int,
    ready_since: bytes | int,
    subscribers: Sequence[Any],
    rates: Sequence[bytes],
) -> GroupInfo:
    oldest_us = int(float(ready_since))
    return GroupInfo(
        name.decode(),
        bool(paused),
        dict(zip(_STATES, (scheduled, ready, leased, dead), strict=True)),
        list(_subscribers(subscribers)),
        max(0, now_us - oldest_us) if oldest_us >= 0 else None,
        Rates(*(float(rate) for rate in rates)),
        retry_policy,
    )


def _subscribers(flat: Sequence[Any]) -> Iterator[SubscriberInfo]:
    for at in range(0, len(flat), _SUBSCRIBER_FIELDS):
        session_id, consumer, connected, in_flight = flat[at : at + _SUBSCRIBER_FIELDS]
        yield SubscriberInfo(session_id.decode(), consumer.decode(), int(connected), max(0, in_flight))


def _attempts(flat: Sequence[Any]) -> Iterator[Attempt]:
    for at in range(0, len(flat), _ATTEMPT_FIELDS):
        attempt, started, ended, consumer, outcome, error = flat[at : at + _ATTEMPT_FIELDS]
        ended_us = int(ended) if int(ended) >= 0 else None
        yield Attempt(attempt, int(started), ended_us, consumer.decode(), _OUTCOMES[outcome], error.decode())


def _cursor(entry: Sequence[Any]) -> str:
    member, score = entry[0], entry[1]
    return f"{int(float(score))}.{urlsafe_b64encode(member).decode()}"


def _read_cursor(cursor: str | None) -> tuple[str, bytes]:
    if cursor is None:
        return "", b""
    try:
        score, member = cursor.split(".")
        return str(int(score)), urlsafe_b64decode(member)
    except ValueError:
        raise InvalidArgument("page_token", "is not a page token of this request") from None
