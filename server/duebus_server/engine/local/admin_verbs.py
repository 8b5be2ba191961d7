"""The verbs of operators on the local engine. What they do to events stands in ``administration``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from duebus_server.domain.errors import InvalidArgument, NotFound
from duebus_server.engine.local import administration
from duebus_server.engine.local.store import Holding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.administration import (
        CancelAnswer,
        DeadLetterFilter,
        DeadLetterProgress,
        DeadLetterStep,
        NewDueTime,
        RetryPolicyChanges,
        TopicChanges,
    )
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.topic import Topic


class AdminVerbs(Holding):
    """Changes topics and groups; ``engine.base.Engine`` says what each verb guarantees."""

    # --- administration: topics and groups --------------------------------------------------------------------------

    async def configure_topic(self, topic: str, changes: TopicChanges) -> TopicConfig:
        """See ``Engine.configure_topic``."""
        now_us = self._working_now()
        if changes.partitions not in (None, 1):
            raise InvalidArgument("config.partitions", f"is {changes.partitions}, but the local engine has only one")
        known = self._topics.get(topic)
        changes.applied_to(known.config if known else self._defaults)
        record = self._topic(topic, now_us)
        record.configure(changes)
        return record.config

    async def configure_group(self, topic: str, group: str, changes: RetryPolicyChanges) -> TopicConfig:
        """See ``Engine.configure_group``."""
        record, members = self._existing(topic, group)
        changes.applied_to(members.retry_policy)
        members.policy_changes = members.policy_changes.then(changes) if members.policy_changes else changes
        return replace(record.config, retry_policy=members.retry_policy)

    async def delete_topic(self, topic: str) -> int:
        """See ``Engine.delete_topic``. The memory is given back before it returns, in pieces."""
        now_us = self._working_now()
        record = self._known(topic, now_us)
        removed = record.stored
        del self._topics[topic]
        self._announce_deleted(topic, None, list(record.groups.values()))
        self._disposal.add(record.dissolve(now_us))
        await self._disposal.run()
        return removed

    async def delete_group(self, topic: str, group: str) -> int:
        """See ``Engine.delete_group``. The memory is given back before it returns, in pieces."""
        now_us = self._working_now()
        record, members = self._existing(topic, group)
        record.remove_group(group)
        removed = len(members.entries)
        self._announce_deleted(topic, group, [members])
        self._disposal.add(record.dissolve_group(members, now_us))
        await self._disposal.run()
        return removed

    async def pause_group(self, topic: str, group: str) -> None:
        """See ``Engine.pause_group``."""
        self._existing(topic, group)[1].paused = True

    async def resume_group(self, topic: str, group: str) -> None:
        """See ``Engine.resume_group``."""
        _, members = self._existing(topic, group)
        members.paused = False
        self._announce(topic, members)

    # --- administration: events -------------------------------------------------------------------------------------

    async def cancel(self, topic: str, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """See ``Engine.cancel``."""
        now_us = self._working_now()
        return administration.cancel(self._known(topic, now_us), event_ids, group, now_us)

    async def reschedule(self, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime) -> int:
        """See ``Engine.reschedule``."""
        now_us = self._working_now()
        record = self._known(topic, now_us)
        administration.reschedule(record, event_ids, group, due, now_us)
        self._announce_all(record)
        return len(event_ids)

    async def redrive(
        self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """See ``Engine.redrive``."""
        now_us = self._working_now()
        record = self._known(topic, now_us)
        progress = administration.redrive(record, group, chosen, step, now_us)
        self._announce_all(record)
        return progress

    async def purge(self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> DeadLetterProgress:
        """See ``Engine.purge``."""
        now_us = self._working_now()
        return administration.purge(self._known(topic, now_us), group, chosen, step, now_us)

    # --- the pieces -------------------------------------------------------------------------------------------------

    def _existing(self, topic: str, group: str) -> tuple[Topic, Group]:
        """A topic and its group.

        Raises:
            NotFound: there is no such topic or group.
        """
        record = self._known(topic, self._working_now())
        members = record.groups.get(group)
        if members is None:
            raise NotFound("group", group, topic=topic)
        return record, members

    def _announce_deleted(self, topic: str, group: str | None, members: Sequence[Group]) -> None:
        """Tell the watcher which leases have ended with these groups, and that they are gone."""
        for one in members:
            self._announce_ended(one)
            one.ended = {session_id: list(held) for session_id, held in one.held.items()}
            self._announce_ended(one)
        if self._watcher is not None:
            self._watcher.deleted(topic, group)
