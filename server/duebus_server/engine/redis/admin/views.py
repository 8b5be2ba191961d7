"""Topics, groups and events of the redis engine, as operators see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from duebus_server.domain.errors import InvalidArgument
from duebus_server.domain.model import SubscriberInfo
from duebus_server.domain.states import EventState
from duebus_server.domain.views import (
    EXAMINED_AT_ONCE,
    MAX_HISTORY,
    Attempt,
    EventGroupInfo,
    EventInfo,
    EventQuery,
    GroupInfo,
    KeyInfo,
    Rates,
    TopicInfo,
)
from duebus_server.engine.redis.admin.not_found import check_found
from duebus_server.engine.redis.codec import settings
from duebus_server.engine.redis.codec.attempts import OUTCOMES
from duebus_server.engine.redis.codec.ids import pack_id, packed_id_in, unpack_id
from duebus_server.engine.redis.codec.leases import read_time
from duebus_server.engine.redis.codec.packing import CorruptEventError, StoredBlob
from duebus_server.engine.redis.codec.positions import Position, after
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.tasks import all_of
from duebus_server.engine.redis.transport.errors import asking
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.redis.admin.topic_index import TopicIndex
    from duebus_server.engine.redis.transport.runner import Runner

TOPIC_INFO, TOPIC_INFOS, LIST_EVENTS, LIST_KEYS, GET_EVENT, BACKLOG, WORK = map(
    Script, ("topic_info", "topic_infos", "list_events", "list_keys", "get_event", "backlog", "work")
)

MAX_KEYS_EXAMINED = 10_000
"""How many keys of a group are read for a page. That takes Redis about 20 ms, in steps of 2 ms."""

DESCRIBED_AT_ONCE = 100
"""How many partitions one command describes at most. That takes Redis at most about two milliseconds."""

QUIET_KEPT = 1_000
"""How many groups in which nothing happens are kept as they were read."""

COUNTED_AT_ONCE = 500
"""For how many groups one command counts the work. That takes Redis about a millisecond."""


_STATES = (EventState.SCHEDULED, EventState.READY, EventState.BLOCKED, EventState.LEASED, EventState.DEAD)
_SUBSCRIBER_FIELDS = 4
_ATTEMPT_FIELDS = 7
_KEY_FIELDS = 6
_WHERE_KEYS_ARE, _SAMPLE = ("keys", "slots", "opens"), "blocked"
"""As in ``list_keys.lua``."""
_END = b"0"
"""The cursor after the last step, as in ``list_keys.lua``."""
_PAUSED, _EPHEMERAL = 1, 2
"""As in ``description.lua``."""
_NO_RATES = Rates()
_NO_EVENTS, _QUIET = (0, 0, 0, 0, 0), ((-1, -1, -1), (), (0, 0, 0, 0), -1)
"""What ``description.lua`` leaves out: the counts of a group without events, and the figures of one in which nothing
happens."""


class Listed(NamedTuple):
    """An event in a list, with its sort key."""

    at: Position
    event: EventInfo


class Listing(NamedTuple):
    """A page of a list, and where it ends if more events may follow; None if not."""

    events: list[Listed]
    end: Position | None


class Views:
    """Reads of one bus. Reading ends expired leases first, so that the result is up to date.

    Args:
        answered: called with Redis's time, and the leases that have ended.
    """

    def __init__(
        self,
        runner: Runner,
        topic_index: TopicIndex,
        defaults: TopicConfig,
        answered: Callable[[bytes, Sequence[bytes]], None],
    ) -> None:
        self._runner = runner
        self._topic_index = topic_index
        self._defaults = defaults
        self._answered = answered
        self._quiet: dict[tuple[Any, ...], GroupInfo] = {}

    async def backlog(self, partition: Partition, group: str) -> int:
        """Ready events of a group."""
        now, ended, ready = await self._runner.run(BACKLOG, partition, group, self._max_retries)
        self._answered(now, ended)
        return int(ready)

    async def work(self, groups: Sequence[tuple[Partition, str]]) -> list[int | None]:
        """How many events of each group need a worker; None where the partition is closed."""
        keys = self._runner.keys
        if self._runner.connection.checks_keys:
            some = [self._work(keys.of_topic(partition, [group]), [(partition, group)]) for partition, group in groups]
        else:
            pieces = [groups[first : first + COUNTED_AT_ONCE] for first in range(0, len(groups), COUNTED_AT_ONCE)]
            some = [self._work([keys.topic(piece[0][0], "events")], piece) for piece in pieces]
        counts = await all_of(some)
        return [None if count < 0 else count for piece in counts for count in piece]

    async def _work(self, keys: Sequence[str], groups: Sequence[tuple[Partition, str]]) -> list[int]:
        prefix = self._runner.keys.topic_prefix
        named = [argument for partition, group in groups for argument in (prefix(partition), group)]
        counts: list[int] = await self._runner.run_on(keys, WORK, "", *named)
        return counts

    async def config_of(self, topic: str) -> TopicConfig:
        """The settings in force for a topic."""
        async with asking(topic):
            stored = await self._runner.connection.redis.hgetall(self._runner.keys.topic(Partition(topic), "config"))
        return settings.topic_changes(stored).over(self._defaults)

    async def get_topic(self, partition: Partition) -> TopicInfo:
        """One topic."""
        described = await self._read(TOPIC_INFO, partition, self._max_retries)
        return self._topic_info(partition, self._runner.now_us(), *described)

    async def get_topics(self, partitions: Sequence[Partition]) -> list[TopicInfo | None]:
        """Many topics or partitions, a hundred in a step; None for one that has to be read by itself.

        That is one for which something has to be done first, or that does not exist, and on a cluster each.
        """
        if self._runner.connection.checks_keys:
            return [None] * len(partitions)
        keys = self._runner.keys
        found: list[TopicInfo | None] = []
        while len(found) < len(partitions):
            some = partitions[len(found) : len(found) + DESCRIBED_AT_ONCE]
            prefixes = map(keys.topic_prefix, some)
            now, *described = await self._runner.run_on([keys.topic(some[0], "events")], TOPIC_INFOS, "", *prefixes)
            self._answered(now, ())
            now_us = self._runner.now_us()
            for partition, one in zip(some, described, strict=False):  # Redis may stop before the end
                found.append(one and self._topic_info(partition, now_us, *one))
        return found

    def _topic_info(
        self, partition: Partition, now_us: int, queued: int, stored: Sequence[bytes] | None, groups: Sequence[Any]
    ) -> TopicInfo:
        if not stored:
            infos = [self._usual_group(now_us, *group) for group in groups]
            return TopicInfo(partition.topic, self._defaults, queued, infos)
        config = settings.topic_changes(settings.pairs_of(stored)).over(self._defaults)
        return TopicInfo(partition.topic, config, queued, [_group_info(config, now_us, *group) for group in groups])

    def _usual_group(
        self,
        now_us: int,
        name: bytes,
        flags: int,
        own: Sequence[bytes] | None,
        minutes: Sequence[bytes] | None,
        counts: Sequence[int] = _NO_EVENTS,
        *figures: Any,
    ) -> GroupInfo:
        """A group with the server's settings. Where nothing happens, many are alike, so they are made once."""
        if own or minutes or figures:
            return _group_info(self._defaults, now_us, name, flags, own, minutes, counts, *figures)
        known = self._quiet.get((name, flags, *counts))
        if known is None:
            if len(self._quiet) >= QUIET_KEPT:
                self._quiet.clear()
            known = _group_info(self._defaults, now_us, name, flags, None, None, counts)
            self._quiet[name, flags, *counts] = known
        return known

    async def list_with_places(self, partition: Partition, query: EventQuery) -> Listing:
        """A page of events with their sort keys.

        Raises:
            NotFound: no such topic or group.
            InvalidArgument: the cursor is not one of this engine.
        """
        try:
            score, member = after(query.cursor)
        except ValueError:
            raise InvalidArgument("page_token", "is not a page token of this request") from None
        own = (query.state, int(query.newest_first), query.limit, query.max_bytes, score, member, self._max_retries)
        group, max_retries, end, entries = await self._read(
            LIST_EVENTS, partition, query.group, *own, query.key, EXAMINED_AT_ONCE, group=query.group
        )
        events = [_listed(group.decode(), max_retries, query.state, *entry) for entry in entries]
        return Listing(events, Position.of(*end) if end else None)

    async def list_keys(self, partition: Partition, group: str) -> list[KeyInfo]:
        """Keys of a group that hold something, in no order: all of them, or of a group with more than about
        MAX_KEYS_EXAMINED some, among which are those with the most blocked events.

        Raises:
            NotFound: no such topic or group.
        """
        found: dict[bytes, KeyInfo] = {}
        for name in _WHERE_KEYS_ARE:
            await self._add_keys(found, partition, group, name)
        if len(found) >= MAX_KEYS_EXAMINED:
            await self._add_keys(found, partition, group, _SAMPLE)
        return list(found.values())

    async def _add_keys(self, found: dict[bytes, KeyInfo], partition: Partition, group: str, name: str) -> None:
        cursor = _END
        while True:
            own = (name, cursor, self._max_retries)
            cursor, flat = await self._read(LIST_KEYS, partition, group, *own, group=group)
            for at in range(0, len(flat), _KEY_FIELDS):
                key, blocked, in_flight, head, is_held, opens_at = flat[at : at + _KEY_FIELDS]
                head_id = unpack_id(head) if head else ""
                found[key] = KeyInfo(key.decode(), blocked, in_flight, head_id, bool(is_held), read_time(opens_at))
            if cursor == _END or len(found) >= MAX_KEYS_EXAMINED:
                return

    async def get_event(self, partition: Partition, event_id: str) -> EventInfo:
        """One event and its history."""
        packed_id = pack_id(event_id)
        blob, groups = await self._read(GET_EVENT, partition, packed_id, self._max_retries, event_id=event_id)
        stored = _stored(packed_id, blob)
        return _event_info(event_id, stored, [_group_state(stored, *group) for group in groups])

    @property
    def _max_retries(self) -> int:
        return self._defaults.retry_policy.max_retries

    async def _read(
        self, script: Script, partition: Partition, *arguments: Any, group: str | None = None, event_id: str = ""
    ) -> list[Any]:
        """Run a script that reads.

        Raises:
            NotFound: there is no such topic, group or event.
        """
        now, ended, missing, *rest = list(await self._runner.run(script, partition, *arguments))
        self._answered(now, ended)
        check_found(missing, partition, group, [event_id])
        return rest


def _listed(
    group: str, max_retries: int, state: EventState, member: bytes, score: bytes, blob: bytes, *rest: Any
) -> Listed:
    packed_id = packed_id_in(member)
    stored = _stored(packed_id, blob)
    where = _where(group, max_retries, state, stored, int(float(score)), *rest)
    return Listed(Position.of(score, member), _event_info(unpack_id(packed_id), stored, [where]))


def _group_state(
    stored: StoredBlob | None, group: bytes, max_retries: int, state: bytes, score: bytes, *rest: Any
) -> EventGroupInfo:
    at_us = int(float(score))
    return _where(group.decode(), max_retries, EventState(state.decode()), stored, at_us, *rest)


def _where(
    group: str,
    max_retries: int,
    state: EventState,
    stored: StoredBlob | None,
    at_us: int,
    attempts: int,
    free_attempts: int,
    deliver_at: bytes,
    last_error: bytes,
    consumer: bytes,
    history: Sequence[Any] = (),
    waits_for: bytes = b"",
) -> EventGroupInfo:
    own = stored.max_retries if stored else None
    return EventGroupInfo(
        group=group,
        state=state,
        attempts=attempts,
        max_retries=max_retries if own is None else own,
        deliver_at_us=int(float(deliver_at)),
        last_error=last_error.decode(),
        lease_expires_us=at_us if state is EventState.LEASED else None,
        consumer=consumer.decode(),
        dead_us=at_us if state is EventState.DEAD else None,
        history=list(_attempts(history))[-MAX_HISTORY:],
        free_attempts=free_attempts,
        waits_for=unpack_id(waits_for) if waits_for else "",
    )


def _event_info(event_id: str, stored: StoredBlob | None, groups: Sequence[EventGroupInfo]) -> EventInfo:
    if stored is None:
        return EventInfo(event_id, b"", 0, "", groups)
    return EventInfo(event_id, stored.body, stored.dispatched_us, stored.origin, groups)


def _stored(packed_id: bytes, blob: bytes) -> StoredBlob | None:
    """The stored event, or None if it is corrupt: it is still listed, so that it can be found and purged."""
    try:
        return StoredBlob(packed_id, blob)
    except CorruptEventError:
        return None


def _group_info(
    config: TopicConfig,
    now_us: int,
    name: bytes,
    flags: int,
    own: Sequence[bytes] | None,
    minutes: Sequence[bytes] | None,
    counts: Sequence[int] = _NO_EVENTS,
    *figures: Any,
) -> GroupInfo:
    in_force = settings.topic_changes(settings.pairs_of(own)).for_group().over(config) if own else config
    oldest, subscribers, rates, throttled_until = figures or _QUIET
    ready_age, blocked_age, lease_age = [None if since < 0 else max(0, now_us - since) for since in oldest]
    return GroupInfo(
        name.decode(),
        bool(flags & _PAUSED),
        dict(zip(_STATES, counts, strict=True)),
        list(_subscribers(subscribers)) if subscribers else [],
        ready_age,
        Rates(*[rate / 1e6 for rate in rates]) if any(rates) else _NO_RATES,
        in_force.retry_policy,
        bool(flags & _EPHEMERAL),
        blocked_age,
        in_force.limits,
        in_force.keys,
        None if throttled_until < 0 else throttled_until,
        lease_age,
        [text.decode(errors="replace") for text in minutes] if minutes else (),
    )


def _subscribers(flat: Sequence[Any]) -> Iterator[SubscriberInfo]:
    for at in range(0, len(flat), _SUBSCRIBER_FIELDS):
        session_id, consumer, connected, in_flight = flat[at : at + _SUBSCRIBER_FIELDS]
        yield SubscriberInfo(session_id.decode(), consumer.decode(), connected, max(0, in_flight))


def _attempts(flat: Sequence[Any]) -> Iterator[Attempt]:
    for at in range(0, len(flat), _ATTEMPT_FIELDS):
        attempt, started, ended, consumer, outcome, error, redriven = flat[at : at + _ATTEMPT_FIELDS]
        times = (int(started), _time(ended), consumer.decode())
        yield Attempt(attempt, *times, OUTCOMES[outcome], error.decode(), _time(redriven))


def _time(at: bytes) -> int | None:
    """A time from a script; -1 is none."""
    return int(at) if int(at) >= 0 else None
