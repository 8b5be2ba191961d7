"""How much work a group has, for an autoscaler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.errors import NotFound
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.states import EventState

if TYPE_CHECKING:
    from duebus_server.bus.engines import Engines
    from duebus_server.domain.model import EngineName

WORK = (EventState.READY, EventState.LEASED)
"""Leased events count too. Otherwise an autoscaler would stop the workers that handle the last events."""


class Scaling:
    """Counts the events of a group that are due and not settled."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def backlog(self, engine: EngineName | None, topic: str, group: str) -> int:
        """The events of a group that are ready or leased; 0 if there is no such topic or group.

        A topic without groups keeps its events for the first group, so they count for this one.

        Raises:
            NoDispatcherSpecified: this server does not run the engine.
            DispatcherNotWorking: it is stopped, or its storage can't be reached.
        """
        try:
            info = await self._engines.get(engine).engine.get_topic(topic)
        except NotFound:
            return 0
        wanted = group or DEFAULT_GROUP
        return sum(one.counts[state] for one in info.groups if one.group in (wanted, "") for state in WORK)
