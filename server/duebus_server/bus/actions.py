"""What operators did: kept in the engine that it was done in, so that a page can show it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.errors import DueBusError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.bus.engines import Engines
    from duebus_server.domain.actions import Action
    from duebus_server.domain.model import EngineName
    from duebus_server.engine.base import Engine

log = structlog.get_logger()

MAX_WAITING = 100
"""How many actions may wait to be kept. More are only in the audit log."""


class Actions:
    """Keeps and lists actions. An action is kept behind its call, which it neither delays nor fails."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._keeping: set[asyncio.Task[None]] = set()

    def keep(self, action: Action, names: Iterable[EngineName]) -> None:
        """Keep an action in these engines, in the default one if there are none. Their clocks give the time."""
        for name in tuple(names) or (None,):
            if len(self._keeping) >= MAX_WAITING:
                log.warning("an action is only in the audit log", verb=action.verb, topic=action.topic)
                return
            task = asyncio.get_running_loop().create_task(self._keep(action, name), name="keep an action")
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)

    async def _keep(self, action: Action, name: EngineName | None) -> None:
        try:
            engine = self._engines.get(name).engine
            await engine.keep_action(replace(action, at_us=engine.wall_us()))
        except DueBusError as error:  # of an engine that was stopped, or that this server does not run
            log.debug("an action is only in the audit log", verb=action.verb, error=str(error))

    async def latest(self, engine: Engine) -> list[Action]:
        """The actions of an engine, the latest first; none if it can't be asked."""
        try:
            return await engine.actions()
        except DueBusError:
            return []
