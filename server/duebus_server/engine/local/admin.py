"""The verbs of operators on the local engine. Each is one synchronous step, unless it says otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from duebus_server.domain.engine_info import EngineInfo, ReplicaInfo, this_process
from duebus_server.domain.errors import InvalidArgument, NotFound, TopicHasSchedules
from duebus_server.engine.local import operations, views
from duebus_server.engine.local.core import EngineCore
from duebus_server.engine.local.topics import TOPICS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.actions import Action
    from duebus_server.domain.administration import (
        CancelAnswer,
        DeadLetterFilter,
        DeadLetterProgress,
        DeadLetterStep,
        GroupChanges,
        NewDueTime,
        TopicChanges,
    )
    from duebus_server.domain.minutes import MinuteOfTopic
    from duebus_server.domain.views import (
        EventInfo,
        EventPage,
        EventQuery,
        KeyPage,
        KeyQuery,
        TopicConfig,
        TopicInfo,
    )
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.topic import Topic


class AdminVerbs(EngineCore):
    """Reads and changes topics, groups and events; ``engine.base.Engine`` documents the guarantees of each verb."""

    # --- inspection -------------------------------------------------------------------------------------------------

    async def queued(self) -> int:
        """See ``Engine.queued``."""
        self._working_now()
        return sum(topic.queued for topic in self._topics)

    async def describe(self) -> EngineInfo:
        """See ``Engine.describe``. There is one replica: this process."""
        self._working_now()
        streams = sum(len(group.sessions) for topic in self._topics for group in topic.groups.values())
        place, version = this_process()
        this = ReplicaInfo(self.name, place, version, self._started_us, streams, None, is_this=True)
        return EngineInfo([this], journal=None if self._journal is None else self._journal.describe())

    async def keep_action(self, action: Action) -> None:
        """See ``Engine.keep_action``. They are not in the journal."""
        self._working_now()
        self._actions.appendleft(action)

    async def actions(self) -> list[Action]:
        """See ``Engine.actions``."""
        self._working_now()
        return list(self._actions)

    def fair_share(self, streams: int | None) -> int:
        """See ``Engine.fair_share``: there is no other replica."""
        return streams or 0

    async def config_of(self, topic: str) -> TopicConfig:
        """See ``Engine.config_of``."""
        self._working_now()
        known = self._topics.find(topic)
        return known.config if known else self._defaults

    async def list_topics(self, after: str, limit: int) -> list[TopicInfo]:
        """See ``Engine.list_topics``. Other tasks may run in between."""
        found: list[TopicInfo] = []
        while names := self._topics.names(after, min(limit - len(found), TOPICS_AT_ONCE)):
            after = names[-1]
            now_us = self._working_now()
            found += [self._topics.idle_info(name) or self._topic_info(name, now_us) for name in names]
            await asyncio.sleep(0)
        self._working_now()
        return found

    async def get_topic(self, topic: str) -> TopicInfo:
        """See ``Engine.get_topic``."""
        return self._topic_info(topic, self._working_now())

    def _topic_info(self, name: str, now_us: int) -> TopicInfo:
        """A topic. It is kept if it changes only when the topic is used.

        A topic without groups may still have events to release: those of a group that is being deleted.
        """
        topic = self._topics.inspected(name, now_us)
        info = views.topic_info(topic, now_us)
        idle = [views.is_idle(group, seen) for group, seen in zip(topic.all_groups(), info.groups, strict=True)]
        if not topic.queued and all(idle):
            topic.idle_info = info
        return info

    async def minutes(self, topic: str) -> list[MinuteOfTopic]:
        """See ``Engine.minutes``. They begin anew with the process, and with the topic."""
        now_us = self._working_now()
        known = self._topics.find(topic)
        return views.minutes(known, now_us) if known else []

    async def list_events(self, topic: str, query: EventQuery) -> EventPage:
        """See ``Engine.list_events``."""
        known = self._topics.inspected(topic, self._working_now())
        page = views.event_page(known, query)
        return replace(page, events=await self._with_bodies(known, page.events))

    async def list_keys(self, topic: str, query: KeyQuery) -> KeyPage:
        """See ``Engine.list_keys``."""
        now_us = self._working_now()
        return views.key_page(self._topics.inspected(topic, now_us), query, now_us)

    async def get_event(self, topic: str, event_id: str) -> EventInfo:
        """See ``Engine.get_event``."""
        known = self._topics.inspected(topic, self._working_now())
        found = await self._with_bodies(known, [views.event_info(known, event_id)])
        if not found:
            raise NotFound("event", event_id, topic=topic)
        return found[0]

    # --- administration: topics and groups --------------------------------------------------------------------------

    async def configure_topic(self, topic: str, changes: TopicChanges) -> TopicConfig:
        """See ``Engine.configure_topic``."""
        now_us = self._working_now()
        if changes.partitions not in (None, 1):
            raise InvalidArgument("config.partitions", f"is {changes.partitions}, but the local engine has only one")
        known = self._topics.find(topic)
        changes.applied_to(known.config if known else self._defaults)
        known = self._topics.obtain(topic, now_us)
        known.configure(changes)
        for members in known.all_groups():
            self._topics.announce_settings(topic, members)
        if self._journal is not None:
            self._journal.recording.topic_configured(known)
        await self._saved()
        return known.config

    async def configure_group(self, topic: str, group: str, changes: GroupChanges) -> TopicConfig:
        """See ``Engine.configure_group``."""
        members = self._up_to_date_group(topic, group)
        changes.retry_policy.applied_to(members.retry_policy)
        members.changes = members.changes.then(changes)
        members.follow_settings()
        self._topics.announce_settings(topic, members)
        await self._group_changed(members)
        return members.config

    async def delete_topic(self, topic: str) -> int:
        """See ``Engine.delete_topic``. The memory is released in pieces before it returns."""
        now_us = self._working_now()
        if (schedule := self._topics.schedules.of_topic(topic)) is not None:
            raise TopicHasSchedules(topic, schedule)
        known = self._topics.up_to_date(topic, now_us)
        removed = known.stored
        if self._journal is not None:
            self._journal.recording.topic_deleted(known)
        self._topics.remove(known)
        self._topics.announce_deleted(topic, None, list(known.groups.values()))
        self._disposal.add(known.dissolve(now_us))
        await self._disposal.run()
        await self._saved()
        return removed

    async def delete_group(self, topic: str, group: str) -> int:
        """See ``Engine.delete_group``. The memory is released in pieces before it returns."""
        now_us = self._working_now()
        members = self._up_to_date_group(topic, group)
        removed = len(members.entries)
        self._remove_group(self._topics.known(topic), members, now_us)
        await self._disposal.run()
        await self._saved()
        return removed

    async def pause_group(self, topic: str, group: str) -> None:
        """See ``Engine.pause_group``."""
        members = self._up_to_date_group(topic, group)
        members.paused = True
        self._topics.announce_pause(topic, group, self.now_us())
        await self._group_changed(members)

    async def resume_group(self, topic: str, group: str) -> None:
        """See ``Engine.resume_group``."""
        members = self._up_to_date_group(topic, group)
        members.paused = False
        self._topics.announce(topic, members)
        await self._group_changed(members)

    # --- administration: events -------------------------------------------------------------------------------------

    async def cancel(self, topic: str, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """See ``Engine.cancel``."""
        now_us = self._working_now()
        known = self._topics.up_to_date(topic, now_us)
        answer = operations.cancel(known, event_ids, group, now_us)
        self._topics.announce_all(known)
        await self._saved()
        return answer

    async def reschedule(self, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime) -> int:
        """See ``Engine.reschedule``."""
        now_us = self._working_now()
        known = self._topics.up_to_date(topic, now_us)
        operations.reschedule(known, event_ids, group, due, now_us)
        self._topics.announce_all(known)
        await self._saved()
        return len(event_ids)

    async def redrive(
        self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """See ``Engine.redrive``."""
        now_us = self._working_now()
        known = self._topics.up_to_date(topic, now_us)
        progress = operations.redrive(known, group, chosen, step, now_us)
        self._topics.announce_all(known)
        await self._saved()
        return progress

    async def purge(self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> DeadLetterProgress:
        """See ``Engine.purge``."""
        now_us = self._working_now()
        progress = operations.purge(self._topics.up_to_date(topic, now_us), group, chosen, step, now_us)
        await self._saved()
        return progress

    # --- helpers ----------------------------------------------------------------------------------------------------

    async def _with_bodies(self, topic: Topic, infos: Sequence[EventInfo]) -> list[EventInfo]:
        """These events with their bodies, read from the disk if need be, without events that are gone meanwhile."""
        on_disk = {info.event_id: event for info in infos if (event := topic.event(info.event_id)).is_on_disk}
        if self._journal is None or not on_disk:
            return list(infos)
        bodies = dict(zip(on_disk, await self._journal.read_bodies(list(on_disk.values())), strict=True))
        known = [(info, bodies.get(info.event_id, info.body)) for info in infos]
        return [replace(info, body=body) for info, body in known if body is not None]

    async def _group_changed(self, group: Group) -> None:
        """Record the settings of a group."""
        if self._journal is not None:
            self._journal.recording.group_changed(group)
            await self._journal.saved()

    def _up_to_date_group(self, topic: str, group: str) -> Group:
        """A group, after everything due in its topic has become READY.

        Raises:
            NotFound: there is no such topic or group.
        """
        self._topics.up_to_date(topic, self._working_now())
        return self._topics.known_group(topic, group)
