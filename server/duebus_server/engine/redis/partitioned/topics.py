"""All topics of the bus."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from duebus_server.domain.errors import DispatcherNotWorking, NotFound
from duebus_server.domain.views import TopicInfo
from duebus_server.engine.redis.partitioned import views
from duebus_server.engine.redis.tasks import all_of
from duebus_server.engine.redis.transport.errors import is_lost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.redis.engine import RedisEngine
    from duebus_server.engine.redis.partitioned.routing import Routing

NAMED_AT_ONCE = 500
"""How many names of topics one command reads."""

AT_ONCE = 16
"""How many topics are read at the same time, of those that are read one by one."""


class Topics:
    """Lists and counts across all topics. Other calls run in between.

    Args:
        engine: knows their names, and reads many at once.
        routing: knows their partitions.
        defaults: the settings of topics.
        get_topic: reads one, and raises NotFound if there is none.

    Raises, in all methods:
        DispatcherNotWorking: Redis can't be reached.
    """

    def __init__(
        self,
        engine: RedisEngine,
        routing: Routing,
        defaults: TopicConfig,
        get_topic: Callable[[str], Awaitable[TopicInfo]],
    ) -> None:
        self._engine = engine
        self._routing = routing
        self._defaults = defaults
        self._get_topic = get_topic

    async def queued(self) -> int:
        """The events of all topics, dead letters not counted; a damaged topic counts as empty."""
        after, queued = "", 0
        while infos := await self.list(after, NAMED_AT_ONCE):
            after = infos[-1].topic
            queued += sum(info.queued for info in infos)
        return queued

    async def list(self, after: str, limit: int) -> list[TopicInfo]:
        """Up to ``limit`` topics by name; a damaged one is shown as such, and does not hide the others."""
        found: list[TopicInfo] = []
        index = self._engine.topic_index
        while len(found) < limit and (names := await index.page(after, min(limit - len(found), NAMED_AT_ONCE))):
            after = names[-1]
            for topic, info in zip(names, await self._read_all(names), strict=True):
                if info is None:
                    await index.after_deletion(topic)
                else:
                    found.append(info)
        return found

    async def _read_all(self, topics: Sequence[str]) -> Sequence[TopicInfo | None]:
        """These topics: those that can be read together, and then one by one the others; None if it does not exist."""
        partitions = [self._routing.partitions(topic) for topic in topics]
        parts = iter(await self._engine.get_topics([*chain.from_iterable(partitions)]))
        found: dict[str, TopicInfo | None] = {}
        for topic, of_topic in zip(topics, partitions, strict=True):
            infos = [info for info in islice(parts, len(of_topic)) if info is not None]
            if len(infos) == len(of_topic):
                found[topic] = views.sum_of(topic, infos)
        rest = [topic for topic in topics if topic not in found]
        for first in range(0, len(rest), AT_ONCE):
            some = rest[first : first + AT_ONCE]
            found |= zip(some, await all_of(map(self._read, some)), strict=True)
        return [found[topic] for topic in topics]

    async def _read(self, topic: str) -> TopicInfo | None:
        """A topic, or None if it does not exist."""
        try:
            return await self._get_topic(topic)
        except NotFound:
            return None
        except DispatcherNotWorking as error:
            if is_lost(error.__cause__):
                raise
            return TopicInfo(topic, self._defaults, 0, (), problem=str(error))
