"""All topics of the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.errors import DispatcherNotWorking, NotFound
from duebus_server.domain.views import TopicInfo
from duebus_server.engine.redis.tasks import all_of
from duebus_server.engine.redis.transport.errors import is_lost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.redis.admin.topic_index import TopicIndex

AT_ONCE = 16
"""How many topics are read at the same time. Other calls run in between."""


class Topics:
    """Lists and counts across all topics.

    Args:
        topic_index: knows their names.
        defaults: the settings of topics.
        get_topic: reads one, and raises NotFound if there is none.

    Raises, in all methods:
        DispatcherNotWorking: Redis can't be reached.
    """

    def __init__(
        self, topic_index: TopicIndex, defaults: TopicConfig, get_topic: Callable[[str], Awaitable[TopicInfo]]
    ) -> None:
        self._topic_index = topic_index
        self._defaults = defaults
        self._get_topic = get_topic

    async def queued(self) -> int:
        """The events of all topics, dead letters not counted; a damaged topic counts as empty."""
        infos = [await self._read(topic) for topic in await self._topic_index.names()]
        return sum(info.queued for info in infos if info is not None)

    async def list(self, after: str, limit: int) -> list[TopicInfo]:
        """Up to ``limit`` topics by name; a damaged one is shown as such, and does not hide the others."""
        found: list[TopicInfo] = []
        while len(found) < limit and (names := await self._topic_index.page(after, min(limit - len(found), AT_ONCE))):
            after = names[-1]
            for topic, info in zip(names, await all_of(map(self._read, names)), strict=True):
                if info is None:
                    await self._topic_index.after_deletion(topic)
                else:
                    found.append(info)
        return found

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
