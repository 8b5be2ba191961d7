"""How much work a group has, for an autoscaler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.bus.coalescing import Coalescer
from duebus_server.domain.model import DEFAULT_GROUP

if TYPE_CHECKING:
    from duebus_server.bus.engines import Engines
    from duebus_server.domain.model import EngineName

GROUPS_AT_ONCE = 1_000
"""How many groups one engine call covers."""


class Scaling:
    """Counts the events of groups that need a worker.

    Leased events count too. Otherwise an autoscaler would stop the workers that handle the last events.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._counting: Coalescer[EngineName, tuple[str, str], int] = Coalescer(
            self._count, weight=lambda _: 1, max_weight=lambda _: GROUPS_AT_ONCE
        )

    async def backlog(self, engine: EngineName | None, topic: str, group: str) -> int:
        """The events of a group that are leased, and of the ready ones those that its limits let begin soon, or none if
        it is paused; 0 if there is no such topic or group. See ``Engine.work``.

        A topic without groups keeps its events for the first group, so they count for this one.

        Raises:
            NoDispatcherSpecified: this server does not run the engine.
            DispatcherNotWorking: it is starting or stopped, or its storage can't be reached.
        """
        running = self._engines.in_use(engine)
        return await self._counting.submit(running.engine.name, (topic, group or DEFAULT_GROUP))

    async def _count(self, engine: EngineName, groups: list[tuple[str, str]]) -> list[int]:
        unclaimed = [(topic, "") for topic, _ in groups]
        counts = await self._engines.in_use(engine).engine.work([*groups, *unclaimed])
        return [
            claimed + waiting for claimed, waiting in zip(counts[: len(groups)], counts[len(groups) :], strict=True)
        ]
