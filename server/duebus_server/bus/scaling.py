"""How much work there is: what an autoscaler asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.errors import NotFound
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.states import EventState

if TYPE_CHECKING:
    from duebus_server.bus.engines import Engines
    from duebus_server.domain.model import EngineName

WORK = (EventState.READY, EventState.LEASED)
"""What is under way counts too: without it, workers that hold the last events would be taken away from them."""


class Scaling:
    """Tells how many events of a group are due and not settled."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def backlog(self, engine: EngineName | None, topic: str, group: str) -> int:
        """The events of a group that are ready or leased; 0 where there is no such topic or group.

        A topic without groups keeps its events for the first one that comes, so they are this group's.

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
