"""What operators ask: topics, groups and events from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.bus.engines import EngineStatus
from duebus_server.domain.errors import DispatcherNotWorking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.bus.engines import Engines
    from duebus_server.domain.model import EngineName
    from duebus_server.domain.views import EventInfo, EventPage, EventQuery, TopicInfo
    from duebus_server.engine.base import Engine


class Administering:
    """Looks into engines, also while they drain.

    Raises, in all methods:
        NoDispatcherSpecified: this server does not run the engine.
        DispatcherNotWorking: it is stopped.
        NotFound: no such topic, group or event.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def list_topics(self, engine: EngineName | None, after: str, limit: int) -> Sequence[TopicInfo]:
        """Up to ``limit`` topics whose names come after ``after``, by name."""
        return await self._engine(engine).list_topics(after, limit)

    async def get_topic(self, engine: EngineName | None, topic: str) -> TopicInfo:
        """One topic with its groups."""
        return await self._engine(engine).get_topic(topic)

    async def list_events(self, engine: EngineName | None, topic: str, query: EventQuery) -> EventPage:
        """A page of a group's events in one state."""
        return await self._engine(engine).list_events(topic, query)

    async def get_event(self, engine: EngineName | None, topic: str, event_id: str) -> EventInfo:
        """The story of one event."""
        return await self._engine(engine).get_event(topic, event_id)

    def _engine(self, name: EngineName | None) -> Engine:
        running = self._engines.get(name)
        if running.status is EngineStatus.STOPPED:
            raise DispatcherNotWorking(f"engine {running.engine.name} is stopped")
        return running.engine
