"""The topics of the local engine by name, and the reports to its watcher."""

from __future__ import annotations

import asyncio
from bisect import bisect_right, insort
from typing import TYPE_CHECKING

from duebus_server.domain.errors import NotFound
from duebus_server.engine.base import WORK_AHEAD_US
from duebus_server.engine.local.body_room import BodyRoom
from duebus_server.engine.local.host_time import HostTime
from duebus_server.engine.local.schedules import Schedules
from duebus_server.engine.local.sweeps import Sweeps
from duebus_server.engine.local.topic import Topic
from duebus_server.engine.local.unannounced import Unannounced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from duebus_server.domain.model import LeaseBatch, SubscriberInfo
    from duebus_server.domain.views import TopicConfig, TopicInfo
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.group_core import GroupCore
    from duebus_server.engine.local.recorder import Recorder
    from duebus_server.engine.watcher import Watcher

IDS_NAMED = 10
"""How many of the events that died or became suspects in one step are reported by id; the rest are only counted."""

TOPICS_AT_ONCE = 100
"""How many topics are checked in one step of the event loop. That takes a few milliseconds at most."""


class Topics:
    """The topics of one engine.

    Attributes:
        host: the host's clock, as the current verb read it.
        watcher: receives what happens; None until it is set.
        schedules: the schedules of the engine.
        sweeps: which topics the next sweep has to check.

    Args:
        defaults: the settings of topics that were not configured.
        recorder: records what happens; None for an engine in memory.
        max_body_bytes: how many bytes the bodies of all events may take up; 0 is unlimited.
    """

    def __init__(
        self, defaults: TopicConfig, recorder: Recorder[GroupCore] | None = None, max_body_bytes: int = 0
    ) -> None:
        self.host = HostTime()
        self._room = BodyRoom(max_body_bytes)
        self.watcher: Watcher | None = None
        self.sweeps = Sweeps()
        self.schedules = Schedules()
        self._defaults = defaults
        self._recorder = recorder
        self._topics: dict[str, Topic] = {}
        self._names: list[str] = []
        self._last_seq = 0

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._topics.values())

    def find(self, name: str) -> Topic | None:
        """The topic of this name."""
        topic = self._topics.get(name)
        if topic is not None:
            self.sweeps.use(topic)
        return topic

    def known(self, name: str) -> Topic:
        """The topic of this name.

        Raises:
            NotFound: there is none.
        """
        topic = self.find(name)
        if topic is None:
            raise NotFound("topic", name)
        return topic

    def obtain(self, name: str, now_us: int) -> Topic:
        """The topic of this name, created if it does not exist."""
        topic = self.find(name)
        if topic is None:
            topic = Topic(name, self._defaults, self._next_seqs, self.host, self._room, now_us, self._recorder)
            self._topics[name] = topic
            self.sweeps.use(topic)
            insort(self._names, name)
        return topic

    def continue_after(self, seq: int) -> None:
        """Give later events a greater ``seq`` than this one."""
        self._last_seq = seq

    def _next_seqs(self, count: int) -> range:
        first = self._last_seq + 1
        self._last_seq += count
        return range(first, first + count)

    def up_to_date(self, name: str, now_us: int) -> Topic:
        """A topic to change, in which everything due is READY.

        Raises:
            NotFound: there is none of this name.
        """
        return self._promoted(self.known(name), now_us)

    def inspected(self, name: str, now_us: int) -> Topic:
        """A topic to inspect only, in which everything due is READY. No sweep has to check it because of that.

        Raises:
            NotFound: there is none of this name.
        """
        topic = self._topics.get(name)
        if topic is None:
            raise NotFound("topic", name)
        return self._promoted(topic, now_us)

    def idle_info(self, name: str) -> TopicInfo | None:
        """How operators see a topic that has no events, if they have seen it since it was last used."""
        return self._topics[name].idle_info

    def _promoted(self, topic: Topic, now_us: int) -> Topic:
        for group in topic.all_groups():
            group.promote(now_us)
        self.announce_all(topic)
        return topic

    def find_group(self, topic: str, group: str) -> Group | None:
        """A group of a topic."""
        found = self.find(topic)
        return found.groups.get(group) if found else None

    def work(self, topic: str, group: str, now_us: int) -> int:
        """How many events of a group need a worker; an empty name means what waits for the first group."""
        found = self._topics.get(topic)
        members = None if found is None else found.groups.get(group) if group else found.unclaimed
        if members is None:
            return 0
        members.promote(now_us)
        self.announce(topic, members)
        ready = 0 if members.paused else members.ready_by(now_us + WORK_AHEAD_US)
        if ready and not members.throttle.is_idle:
            ready = members.throttle.work(ready, members.in_flight, now_us, WORK_AHEAD_US)
        return ready + members.in_flight

    def known_group(self, topic: str, group: str) -> Group:
        """A group of a topic.

        Raises:
            NotFound: there is no such topic or group.
        """
        members = self.known(topic).groups.get(group)
        if members is None:
            raise NotFound("group", group, topic=topic)
        return members

    def joined(self, topic: str, group: str, session_id: str) -> tuple[Group, SubscriberInfo]:
        """A group, and a session that has joined it.

        Raises:
            NotFound: there is no such topic or group, or the session has not joined it.
        """
        members = self.known_group(topic, group)
        session = members.sessions.get(session_id)
        if session is None:
            raise NotFound("session", session_id, topic=topic, group=group)
        return members, session

    def remove(self, topic: Topic) -> None:
        """Remove a topic. ``Topic.dissolve`` releases its events."""
        self.sweeps.forget(topic)
        del self._topics[topic.name]
        del self._names[bisect_right(self._names, topic.name) - 1]

    def clear(self) -> None:
        """Remove all topics."""
        self.sweeps = Sweeps()
        self._topics.clear()
        self.schedules.clear()
        self._names.clear()
        self._room.used = 0

    def names(self, after: str, limit: int) -> Sequence[str]:
        """Up to ``limit`` names that come after ``after``, in order."""
        start = bisect_right(self._names, after)
        return self._names[start : start + limit]

    async def in_turns(self, names: Sequence[str]) -> AsyncIterator[Topic]:
        """The topics of these names that still exist at their turn; other tasks run in between."""
        for number, name in enumerate(names, start=1):
            topic = self._topics.get(name)
            if topic is not None:
                yield topic
            if number % TOPICS_AT_ONCE == 0:
                await asyncio.sleep(0)

    # --- announcements ----------------------------------------------------------------------------------------------

    def announce_all(self, topic: Topic) -> None:
        """Report every group of a topic to the watcher."""
        for group in topic.all_groups():
            self.announce(topic.name, group)

    def announce_settings(self, topic: str, group: Group) -> None:
        """Report what follows from other settings of a group."""
        self.announce(topic, group)
        if group.name and group.config.is_limited and self.watcher is not None:
            self.watcher.limited(topic, group.name)

    def announce(self, topic: str, group: Group) -> None:
        """Report which leases have ended, what has died, and when there is something to lease."""
        if not group.name:
            return  # unclaimed events are due to nobody
        self.announce_past(topic, group)
        due_us = group.next_due()
        if due_us is not None and self.watcher is not None:
            self.watcher.due(topic, group.name, due_us)

    def announce_leased(self, topic: str, group: Group, session_id: str, batch: LeaseBatch) -> None:
        """Report what a dispatch or an ack has leased to a session, and before that, what it has ended."""
        self.announce_past(topic, group)
        if self.watcher is not None:
            self.watcher.leased(topic, group.name, session_id, batch)

    def announce_pause(self, topic: str, group: str, now_us: int) -> None:
        """Wake a session, which then finds its group paused."""
        if self.watcher is not None:
            self.watcher.due(topic, group, now_us)

    def announce_past(self, topic: str, group: Group) -> None:
        """Report which leases have ended or were extended, what has died, and what has become a suspect."""
        changes = group.unannounced
        if changes.is_empty():
            return
        group.unannounced = Unannounced()
        if self.watcher is None:
            return
        for session_id, fencing_tokens in changes.ran_out.items():
            self.watcher.leases_ran_out(session_id, fencing_tokens)
        for session_id, fencing_tokens in changes.ended.items():
            self.watcher.leases_ended(session_id, fencing_tokens)
        for session_id in changes.extended:
            self.watcher.leases_extended(session_id)
        for event_ids, report in ((changes.died, self.watcher.died), (changes.suspected, self.watcher.suspected)):
            if event_ids:
                report(topic, group.name, len(event_ids), event_ids[:IDS_NAMED])

    def announce_deleted(self, topic: str, group: str | None, gone: Sequence[Group]) -> None:
        """Report that these groups are gone, and their leases with them; None is the topic."""
        for members in gone:
            self.announce_past(topic, members)
            members.unannounced.ended = {session_id: list(held) for session_id, held in members.leases.held.items()}
            self.announce_past(topic, members)
        if self.watcher is not None:
            self.watcher.deleted(topic, group)
