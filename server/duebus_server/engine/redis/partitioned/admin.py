"""The verbs of operators on topics over several partitions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from duebus_server.domain.administration import CancelAnswer
from duebus_server.domain.errors import InvalidArgument, NotFound
from duebus_server.engine.redis.codec import settings
from duebus_server.engine.redis.engine import RedisEngine
from duebus_server.engine.redis.partitioned import views as spread_views
from duebus_server.engine.redis.partitioned.engine import SpreadVerbs
from duebus_server.engine.redis.partitioned.partitions import all_of, count_of, number_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.administration import (
        DeadLetterFilter,
        DeadLetterProgress,
        DeadLetterStep,
        NewDueTime,
        RetryPolicyChanges,
        TopicChanges,
    )
    from duebus_server.domain.views import EventInfo, EventPage, EventQuery, TopicConfig, TopicInfo
    from duebus_server.engine.redis.replicas.presence import Presence
    from duebus_server.engine.redis.transport.runner import Runner

    Step = Callable[[str, DeadLetterStep], Awaitable[DeadLetterProgress]]

T = TypeVar("T")

_BEHIND_NUMBER = "~"
"""In the cursor of a step, between the number of the partition and its own cursor."""


class SpreadEngine(SpreadVerbs):
    """The redis engine with all its verbs; what it is made of is as in ``RedisEngine``."""

    def __init__(self, runner: Runner, presence: Presence, defaults: TopicConfig) -> None:
        super().__init__(runner, presence, defaults)
        self._views.find = self.get_topic

    # --- what there is ----------------------------------------------------------------------------------------------

    async def get_topic(self, topic: str) -> TopicInfo:
        """See ``Engine.get_topic``."""
        infos = await self._each(topic, lambda name: RedisEngine.get_topic(self, name))
        return infos[0] if len(infos) == 1 else spread_views.sum_of(topic, infos)

    async def list_events(self, topic: str, query: EventQuery) -> EventPage:
        """See ``Engine.list_events``. A cursor is valid in all partitions."""

        async def list_in(names: list[str]) -> EventPage:
            if len(names) == 1:
                return await RedisEngine.list_events(self, topic, query)
            self._working()
            return spread_views.merged(
                query, await all_of([self._views.list_with_places(name, query) for name in names])
            )

        return await self._routed(topic, list_in)

    async def get_event(self, topic: str, event_id: str) -> EventInfo:
        """See ``Engine.get_event``. All partitions are asked."""

        async def get(name: str) -> EventInfo | NotFound:
            try:
                return await RedisEngine.get_event(self, name, event_id)
            except NotFound as error:
                return error

        return _one_of(await self._each(topic, get))

    # --- topics and groups ------------------------------------------------------------------------------------------

    async def configure_topic(self, topic: str, changes: TopicChanges) -> TopicConfig:
        """See ``Engine.configure_topic``. Where it fails half way, some partitions have the changes: repeat it."""
        if changes.partitions is not None:
            self._working()
            changes.applied_to(await self.config_of(topic))
            async with self._following:
                await self._partitioning.change(topic, changes.partitions)
                await self._take_along(topic)
            self._forgetting.anything_may_have_changed()
        rest = replace(changes, partitions=None)

        async def configure(names: list[str]) -> TopicConfig:
            if len(names) > 1 and rest:
                refused, _, _ = await self._configure(topic, "", settings.topic_pairs(rest))
                if not refused:
                    await all_of([RedisEngine.configure_topic(self, name, rest) for name in names])
            return await RedisEngine.configure_topic(self, topic, rest)

        return await self._routed(topic, configure)

    async def configure_group(self, topic: str, group: str, changes: RetryPolicyChanges) -> TopicConfig:
        """See ``Engine.configure_group``."""
        configs = await self._each(topic, lambda name: RedisEngine.configure_group(self, name, group, changes))
        return configs[0]

    async def delete_topic(self, topic: str) -> int:
        """See ``Engine.delete_topic``. Partition by partition; what is dispatched meanwhile may go too."""

        async def delete(names: list[str]) -> int:
            if len(names) == 1:
                return await RedisEngine.delete_topic(self, topic)
            removed = await self._partitioning.delete(topic)
            for name in [*names, topic]:
                self._news.deleted(name, None, self.now_us())
            await self._forgetting.after_deletion(topic)
            await self._listing.after_deletion(topic)
            return removed

        self._working()
        return await self._routed(topic, delete)

    async def delete_group(self, topic: str, group: str) -> int:
        """See ``Engine.delete_group``."""

        async def delete(name: str) -> int | NotFound:
            try:
                return await RedisEngine.delete_group(self, name, group)
            except NotFound as error:
                return error

        found = await self._each(topic, delete)
        removed = [copies for copies in found if isinstance(copies, int)]
        return sum(removed) if removed else _one_of(found)

    async def pause_group(self, topic: str, group: str) -> None:
        """See ``Engine.pause_group``."""
        await self._each(topic, lambda name: RedisEngine.pause_group(self, name, group))

    async def resume_group(self, topic: str, group: str) -> None:
        """See ``Engine.resume_group``."""
        await self._each(topic, lambda name: RedisEngine.resume_group(self, name, group))

    # --- events -----------------------------------------------------------------------------------------------------

    async def cancel(self, topic: str, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """See ``Engine.cancel``."""
        answers = await self._each(topic, lambda name: RedisEngine.cancel(self, name, event_ids, group))
        leased = {event_id for answer in answers for event_id in answer.leased_event_ids}
        missing = set.intersection(*(set(answer.missing_event_ids) for answer in answers))
        return CancelAnswer(
            sum(answer.cancelled for answer in answers),
            [event_id for event_id in event_ids if event_id in leased],
            [event_id for event_id in event_ids if event_id in missing],
        )

    async def reschedule(self, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime) -> int:
        """See ``Engine.reschedule``. Over several partitions all are looked at before the first is changed: an event
        that is leased in between fails the rest.
        """

        async def reschedule(names: list[str]) -> int:
            if len(names) == 1:
                return await RedisEngine.reschedule(self, topic, event_ids, group, due)
            missing = await all_of([self._reschedule(name, event_ids, group, None) for name in names])
            unknown = set.intersection(*map(set, missing))
            for event_id in event_ids:
                if event_id in unknown:
                    raise NotFound("event", event_id, topic=topic)
            for name, elsewhere in zip(names, missing, strict=True):
                there = [event_id for event_id in event_ids if event_id not in elsewhere]
                if there:
                    await RedisEngine.reschedule(self, name, there, group, due)
            return len(event_ids)

        return await self._routed(topic, reschedule)

    async def redrive(
        self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """See ``Engine.redrive``. One partition after the other."""
        return await self._step_in(topic, step, lambda name, own: RedisEngine.redrive(self, name, group, chosen, own))

    async def purge(self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> DeadLetterProgress:
        """See ``Engine.purge``. One partition after the other."""
        return await self._step_in(topic, step, lambda name, own: RedisEngine.purge(self, name, group, chosen, own))

    # --- the pieces -------------------------------------------------------------------------------------------------

    async def _step_in(self, topic: str, step: DeadLetterStep, verb: Step) -> DeadLetterProgress:
        async def take_step(names: list[str]) -> DeadLetterProgress:
            if len(names) == 1:
                return await verb(topic, step)
            number, own = _read_cursor(step.cursor, len(names))
            left, moved = replace(step, cursor=own), 0
            for name in names[number:]:
                progress = await verb(name, left)
                moved += progress.moved
                if progress.cursor is not None or moved == step.limit:
                    return replace(progress, moved=moved, cursor=_cursor(name, progress.cursor))
                left = replace(left, limit=step.limit - moved, began_us=progress.began_us, moved=step.moved + moved)
                left = replace(left, cursor=None)
            return replace(progress, moved=moved)

        return await self._routed(topic, take_step)


def _cursor(name: str, own: str | None) -> str | None:
    """Where the step after this one begins: further on in the partition, or in the next; None when there is none."""
    number = number_of(name)
    if own is not None:
        return f"{number}{_BEHIND_NUMBER}{own}"
    return f"{number + 1}{_BEHIND_NUMBER}" if number + 1 < count_of(name) else None


def _read_cursor(cursor: str | None, partitions: int) -> tuple[int, str | None]:
    """Which partition a step is in, and its cursor there.

    Raises:
        InvalidArgument: it is none of ours.
    """
    if cursor is None:
        return 0, None
    number, mark, own = cursor.partition(_BEHIND_NUMBER)
    if not mark or not number.isdecimal() or int(number) >= partitions:
        raise InvalidArgument("cursor", "is not one that an earlier step has given")
    return int(number), own or None


def _one_of(found: Sequence[T | NotFound]) -> T:
    """What one partition has found; where none has, that there is none.

    Raises:
        NotFound: no partition has found it.
    """
    for one in found:
        if not isinstance(one, NotFound):
            return one
    raise next(one for one in found if isinstance(one, NotFound))
