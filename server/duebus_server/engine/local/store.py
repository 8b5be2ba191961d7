"""What all verbs of the local engine stand on: its topics, its clock, and its word to the watcher."""

from __future__ import annotations

import os
import secrets
from itertools import count
from typing import TYPE_CHECKING

from duebus_server.domain.errors import DispatcherNotWorking, NotFound
from duebus_server.domain.model import EngineName
from duebus_server.engine.local.disposal import Disposal
from duebus_server.engine.local.host_time import HostTime
from duebus_server.engine.local.topic import Topic

if TYPE_CHECKING:
    from duebus_server.domain.clock import Clock
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.base import Watcher
    from duebus_server.engine.local.group import Group

DEATHS_NAMED = 10
"""What is told of a batch that died: how many, and so many of their ids."""


class Holding:
    """The topics that an engine holds."""

    name = EngineName.LOCAL

    def __init__(self, clock: Clock, defaults: TopicConfig) -> None:
        self._clock = clock
        self._defaults = defaults
        self._topics: dict[str, Topic] = {}
        self._seq = count(1)
        self._host = HostTime()
        self._disposal = Disposal()
        self._key = secrets.token_bytes(32)
        self._watcher: Watcher | None = None
        self._pid: int | None = None

    def _working_now(self) -> int:
        """The time, if the engine works.

        Raises:
            DispatcherNotWorking: it is not started, or this is a fork of the process that started it.
        """
        if self._pid != os.getpid():
            raise DispatcherNotWorking("engine local is not running", metadata={"engine": self.name})
        now_us = self._clock.now_us()
        self._host.read(now_us, self._clock.host_us())
        return now_us

    def _topic(self, name: str, now_us: int) -> Topic:
        """The topic of this name, made if need be."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, self._defaults, lambda: next(self._seq), self._host, now_us)
        return topic

    def _known(self, name: str, now_us: int) -> Topic:
        """A topic to look at, with what is due shown as ready."""
        topic = self._topics.get(name)
        if topic is None:
            raise NotFound("topic", name)
        for group in topic.all_groups():
            group.promote(now_us)
        self._announce_all(topic)
        return topic

    def _find(self, topic: str, group: str) -> Group | None:
        record = self._topics.get(topic)
        return record.groups.get(group) if record else None

    def _announce_all(self, topic: Topic) -> None:
        for group in topic.all_groups():
            self._announce(topic.name, group)

    def _announce(self, topic: str, group: Group) -> None:
        """Tell the watcher which leases have ended, what has died, and when there is something to lease."""
        if not group.name:
            return  # events that no group has claimed are due to nobody
        self._announce_ended(group)
        self._announce_deaths(topic, group)
        due_us = group.next_due()
        if due_us is not None and self._watcher is not None:
            self._watcher.due(topic, group.name, due_us)

    def _announce_ended(self, group: Group) -> None:
        ended, group.ended = group.ended, {}
        if self._watcher is not None:
            for session_id, fencing_tokens in ended.items():
                self._watcher.leases_ended(session_id, fencing_tokens)

    def _announce_deaths(self, topic: str, group: Group) -> None:
        died, group.died = group.died, []
        if died and self._watcher is not None:
            self._watcher.died(topic, group.name, len(died), died[:DEATHS_NAMED])
