"""The verbs of operators on topics of any number of partitions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from duebus_server.domain.administration import CancelAnswer
from duebus_server.domain.errors import InvalidArgument, NotFound, TopicHasSchedules
from duebus_server.engine.redis.partition import Partition, partition_number
from duebus_server.engine.redis.partitioned import views
from duebus_server.engine.redis.tasks import all_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.actions import Action
    from duebus_server.domain.administration import (
        DeadLetterFilter,
        DeadLetterProgress,
        DeadLetterStep,
        GroupChanges,
        NewDueTime,
        TopicChanges,
    )
    from duebus_server.domain.engine_info import EngineInfo
    from duebus_server.domain.transfer import HeldEvent
    from duebus_server.domain.views import EventInfo, EventPage, EventQuery, KeyPage, KeyQuery, TopicConfig, TopicInfo
    from duebus_server.engine.redis.engine import RedisEngine
    from duebus_server.engine.redis.partitioned.partition_count import Partitioning
    from duebus_server.engine.redis.partitioned.routing import Routing
    from duebus_server.engine.redis.partitioned.schedules import Schedules
    from duebus_server.engine.redis.partitioned.topics import Topics

    Step = Callable[[Partition, DeadLetterStep], Awaitable[DeadLetterProgress]]

T = TypeVar("T")

_BEHIND_NUMBER = "~"
"""Separates the number of the partition from the cursor within it, in the cursor of a step."""


class AdminVerbs:
    """Inspects and changes topics, groups and events; ``engine.base.Engine`` documents the guarantees of each verb.

    Args:
        engine: carries out the verbs on topics of one partition, and on single partitions.
        partitioning: deletes topics of several partitions.
        routing: finds the partitions of topics.
        topics: lists all topics.
        schedules: stores and fires schedules.
    """

    def __init__(
        self,
        engine: RedisEngine,
        partitioning: Partitioning,
        routing: Routing,
        topics: Topics,
        schedules: Schedules,
    ) -> None:
        self._engine = engine
        self._partitioning = partitioning
        self._routing = routing
        self._topics = topics
        self._schedules = schedules

    # --- what there is ----------------------------------------------------------------------------------------------

    async def queued(self) -> int:
        """See ``Engine.queued``."""
        self._engine.check_started()
        return await self._topics.queued()

    async def describe(self) -> EngineInfo:
        """See ``Engine.describe``."""
        return await self._engine.describe()

    async def keep_action(self, action: Action) -> None:
        """See ``Engine.keep_action``."""
        await self._engine.keep_action(action)

    async def actions(self) -> list[Action]:
        """See ``Engine.actions``."""
        return await self._engine.actions()

    def fair_share(self, streams: int | None) -> int:
        """See ``Engine.fair_share``."""
        return self._engine.fair_share(streams)

    async def config_of(self, topic: str) -> TopicConfig:
        """See ``Engine.config_of``."""
        return await self._engine.config_of(topic)

    async def list_topics(self, after: str, limit: int) -> list[TopicInfo]:
        """See ``Engine.list_topics``."""
        self._engine.check_started()
        return await self._topics.list(after, limit)

    async def get_topic(self, topic: str) -> TopicInfo:
        """See ``Engine.get_topic``."""
        return views.sum_of(topic, await self._routing.each(topic, self._engine.get_topic))

    async def list_events(self, topic: str, query: EventQuery) -> EventPage:
        """See ``Engine.list_events``. A cursor is valid in all partitions."""

        async def list_in(partitions: list[Partition]) -> EventPage:
            if query.key:
                partitions = [partitions[partition_number(query.key, len(partitions))]]
            pages = await all_of([self._engine.list_with_places(one, query) for one in partitions])
            return views.merged(query, pages)

        return await self._routing.routed(topic, list_in)

    async def list_keys(self, topic: str, query: KeyQuery) -> KeyPage:
        """See ``Engine.list_keys``."""
        keys = await self._routing.each(topic, lambda partition: self._engine.list_keys(partition, query.group))
        return views.page_of_keys(query, chain.from_iterable(keys))

    async def get_event(self, topic: str, event_id: str) -> EventInfo:
        """See ``Engine.get_event``. All partitions are asked."""

        async def get(partition: Partition) -> EventInfo | NotFound:
            try:
                return await self._engine.get_event(partition, event_id)
            except NotFound as error:
                return error

        return _one_of(await self._routing.each(topic, get))

    # --- topics and groups ------------------------------------------------------------------------------------------

    async def configure_topic(self, topic: str, changes: TopicChanges) -> TopicConfig:
        """See ``Engine.configure_topic``. If it fails part way, some partitions have the changes; repeat it."""
        self._engine.check_started()
        if changes.partitions is not None:
            changes.applied_to(await self.config_of(topic))
            await self._check_limits(topic, changes)
            await self._routing.change(topic, changes.partitions)
        elif changes.limits:
            _check_partitions((await self.config_of(topic)).partitions)
        rest = replace(changes, partitions=None)
        config = await self._routing.routed(topic, lambda _: self._engine.configure_topic(Partition(topic), rest))
        if config.partitions > 1 and rest:
            await self._routing.refresh(topic)
            await self._routing.each(topic, lambda partition: self._engine.configure_topic(partition, rest))
        return config

    async def configure_group(self, topic: str, group: str, changes: GroupChanges) -> TopicConfig:
        """See ``Engine.configure_group``."""
        self._engine.check_started()
        await self._routing.refresh(topic)
        if changes.limits:
            _check_partitions(len(self._routing.partitions(topic)))
        configs = await self._routing.each(
            topic, lambda partition: self._engine.configure_group(partition, group, changes)
        )
        return configs[0]

    async def _check_limits(self, topic: str, changes: TopicChanges) -> None:
        """Raises:
        InvalidArgument: the topic would have several partitions, and limits.
        """
        if (changes.partitions or 1) == 1:
            return
        if changes.limits:
            _check_partitions(changes.partitions or 1)
        try:
            info = await self.get_topic(topic)
        except NotFound:
            return
        if any(group.limits for group in info.groups) or (changes.limits is None and info.config.limits):
            raise InvalidArgument("config.partitions", "must be 1 while the topic or one of its groups has limits")

    async def delete_topic(self, topic: str) -> int:
        """See ``Engine.delete_topic``. Partition by partition; what is dispatched meanwhile may be deleted too."""
        self._engine.check_started()

        async def delete(partitions: list[Partition]) -> int:
            if len(partitions) == 1:
                return await self._engine.delete_topic(partitions[0])
            schedule = await self._schedules.of_topic(topic)
            if schedule is not None:
                raise TopicHasSchedules(topic, schedule)
            return await self._partitioning.delete(topic)

        return await self._routing.routed(topic, delete)

    async def delete_group(self, topic: str, group: str) -> int:
        """See ``Engine.delete_group``."""

        async def delete(partition: Partition) -> int | NotFound:
            try:
                return await self._engine.delete_group(partition, group)
            except NotFound as error:
                return error

        found = await self._routing.each(topic, delete)
        removed = [copies for copies in found if isinstance(copies, int)]
        return sum(removed) if removed else _one_of(found)

    async def pause_group(self, topic: str, group: str) -> None:
        """See ``Engine.pause_group``."""
        await self._routing.each(topic, lambda partition: self._engine.pause_group(partition, group))

    async def resume_group(self, topic: str, group: str) -> None:
        """See ``Engine.resume_group``."""
        await self._routing.each(topic, lambda partition: self._engine.resume_group(partition, group))

    # --- events -----------------------------------------------------------------------------------------------------

    async def cancel(self, topic: str, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """See ``Engine.cancel``."""
        answers = await self._routing.each(topic, lambda partition: self._engine.cancel(partition, event_ids, group))
        leased = {event_id for answer in answers for event_id in answer.leased_event_ids}
        missing = set.intersection(*(set(answer.missing_event_ids) for answer in answers))
        return CancelAnswer(
            sum(answer.cancelled for answer in answers),
            [event_id for event_id in event_ids if event_id in leased],
            [event_id for event_id in event_ids if event_id in missing],
        )

    async def reschedule(self, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime) -> int:
        """See ``Engine.reschedule``. All partitions are checked before the first is changed. An event that is leased
        in between fails the call, after the events of earlier partitions were moved.
        """
        return await self._routing.routed(
            topic, lambda partitions: self._reschedule(topic, partitions, event_ids, group, due)
        )

    async def _reschedule(
        self, topic: str, partitions: list[Partition], event_ids: Sequence[str], group: str | None, due: NewDueTime
    ) -> int:
        if len(partitions) == 1:
            return await self._engine.reschedule(partitions[0], event_ids, group, due)
        missing = await all_of([self._engine.try_to_reschedule(one, event_ids, group, None) for one in partitions])
        unknown = set.intersection(*map(set, missing))
        for event_id in event_ids:
            if event_id in unknown:
                raise NotFound("event", event_id, topic=topic)
        for partition, elsewhere in zip(partitions, missing, strict=True):
            there = [event_id for event_id in event_ids if event_id not in elsewhere]
            if there:
                await self._engine.reschedule(partition, there, group, due)
        return len(event_ids)

    async def redrive(
        self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """See ``Engine.redrive``. One partition after the other."""
        return await self._step_in(
            topic, step, lambda partition, own: self._engine.redrive(partition, group, chosen, own)
        )

    async def purge(self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> DeadLetterProgress:
        """See ``Engine.purge``. One partition after the other."""
        return await self._step_in(
            topic, step, lambda partition, own: self._engine.purge(partition, group, chosen, own)
        )

    async def import_events(self, topic: str, events: Sequence[HeldEvent]) -> int:
        """Store events as another engine held them, each with its state in each group, even beyond ``max_queued``.

        One step in each partition. An event is left alone if the topic holds it, or remembers it from the dedupe
        window. What waits for the first group goes to every lasting group, where the topic has one.

        Args:
            topic: the topic.
            events: none of them is leased.

        Returns:
            How many were stored.

        Raises:
            NotFound: a group does not exist; nothing was stored in that partition.
        """

        async def store(partitions: list[Partition]) -> int:
            by_partition: dict[int, list[HeldEvent]] = defaultdict(list)
            for event in events:
                by_partition[partition_number(event.key or event.event_id, len(partitions))].append(event)
            steps = [self._engine.import_events(partitions[number], some) for number, some in by_partition.items()]
            return sum(await all_of(steps))

        return await self._routing.routed(topic, store)

    # --- the pieces -------------------------------------------------------------------------------------------------

    async def _step_in(self, topic: str, step: DeadLetterStep, verb: Step) -> DeadLetterProgress:
        async def take_step(partitions: list[Partition]) -> DeadLetterProgress:
            if len(partitions) == 1:
                return await verb(partitions[0], step)
            number, own = _read_cursor(step.cursor, len(partitions))
            left, moved = replace(step, cursor=own), 0
            for partition in partitions[number:]:
                progress = await verb(partition, left)
                moved += progress.moved
                if progress.cursor is not None or moved == step.limit:
                    return replace(progress, moved=moved, cursor=_cursor(partition, progress.cursor))
                left = replace(left, limit=step.limit - moved, began_us=progress.began_us, moved=step.moved + moved)
                left = replace(left, cursor=None)
            return replace(progress, moved=moved)

        return await self._routing.routed(topic, take_step)


def _cursor(partition: Partition, own: str | None) -> str | None:
    """Where the next step begins: further on in this partition, or in the following one; None at the end."""
    if own is not None:
        return f"{partition.number}{_BEHIND_NUMBER}{own}"
    following = partition.number + 1
    return f"{following}{_BEHIND_NUMBER}" if following < partition.count else None


def _read_cursor(cursor: str | None, partitions: int) -> tuple[int, str | None]:
    """The number of the partition that a step is in, and its cursor there.

    Raises:
        InvalidArgument: the cursor is not one that an earlier step gave.
    """
    if cursor is None:
        return 0, None
    number, mark, own = cursor.partition(_BEHIND_NUMBER)
    if not mark or not number.isdecimal() or int(number) >= partitions:
        raise InvalidArgument("cursor", "is not a cursor that an earlier step returned")
    return int(number), own or None


def _one_of(found: Sequence[T | NotFound]) -> T:
    """The result of a partition that found something.

    Raises:
        NotFound: none of them found anything.
    """
    for one in found:
        if not isinstance(one, NotFound):
            return one
    raise next(one for one in found if isinstance(one, NotFound))


def _check_partitions(count: int) -> None:
    """Raises:
    InvalidArgument: there are several, so that the topic and its groups can't have limits.
    """
    if count > 1:
        raise InvalidArgument("config.limits", "a topic of several partitions can't have them")
