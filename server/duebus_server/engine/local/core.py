"""What every verb of the local engine needs: its topics, its clock, and whether it works."""

from __future__ import annotations

import os
import secrets
from collections import deque
from typing import TYPE_CHECKING

from duebus_server.domain.actions import KEPT_ACTIONS
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import EngineName
from duebus_server.engine.local.disposal import Disposal
from duebus_server.engine.local.topics import Topics

if TYPE_CHECKING:
    from duebus_server.domain.actions import Action
    from duebus_server.domain.clock import Clock
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.journal import Journal
    from duebus_server.engine.local.topic import Topic


class EngineCore:
    """The state of the local engine.

    Args:
        clock: the time. With a journal, the engine's clock continues where it was before a restart.
        defaults: the settings of topics that were not configured.
        journal: makes it durable.
        max_queued_bytes: how many bytes the bodies of its events may take up; 0 is unlimited.
    """

    name = EngineName.LOCAL

    def __init__(
        self, clock: Clock, defaults: TopicConfig, journal: Journal | None = None, *, max_queued_bytes: int = 0
    ) -> None:
        self._clock = clock
        self._behind_us = 0
        self._defaults = defaults
        self._journal = journal
        self._topics = Topics(defaults, journal.recording if journal is not None else None, max_queued_bytes)
        self._disposal = Disposal()
        # Ephemeral groups that had no session when the last one left: topic and name.
        self._abandoned: set[tuple[str, str]] = set()
        self._key = secrets.token_bytes(32)
        self._pid: int | None = None
        self._started_us = 0
        self._actions: deque[Action] = deque(maxlen=KEPT_ACTIONS)

    def now_us(self) -> int:
        """The clock given to the constructor, or as far behind it as before a restart."""
        return self._clock.now_us() - self._behind_us

    def _working_now(self, *, dispatches: bool = False) -> int:
        """The time, if the engine is working.

        Args:
            dispatches: the verb stores events, which a full disk refuses before it refuses anything else.

        Raises:
            DispatcherNotWorking: it is not started, or this is a fork of the process that started it, or its journal
                can't be written.
        """
        if self._pid != os.getpid():
            raise DispatcherNotWorking("engine local is not running", metadata={"engine": self.name})
        if self._journal is not None:
            self._journal.check(dispatches=dispatches)
        now_us = self._clock.now_us() - self._behind_us
        self._topics.host.read(now_us, self._clock.host_us())
        return now_us

    async def _saved(self) -> None:
        """Return when what was changed is saved, if there is a journal."""
        if self._journal is not None:
            await self._journal.saved()

    def _remove_group(self, topic: Topic, members: Group, now_us: int) -> None:
        """Remove a group; the disposal releases its events."""
        until_us = now_us + topic.config.dedupe_window_us
        if self._journal is not None:
            self._journal.recording.group_deleted(members, until_us)
        topic.remove_group(members.name, until_us)
        self._topics.announce_deleted(topic.name, members.name, [members])
        self._disposal.add(topic.dissolve_group(members, now_us))
