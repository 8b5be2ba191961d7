"""How this replica reacts to the others' announcements."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.redis.admin.retention import Retention
    from duebus_server.engine.redis.admin.topic_index import TopicIndex
    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.replicas.group_notes import GroupNotes
    from duebus_server.engine.redis.replicas.membership import Membership
    from duebus_server.engine.redis.replicas.notifications import Notifications
    from duebus_server.engine.redis.replicas.schedule_times import ScheduleTimes
    from duebus_server.engine.redis.transport.runner import Runner


class Reactions:
    """Passes the other replicas' announcements on to the parts of this replica that they concern.

    Args:
        runner: restores the secret.
        notifications: reports what is due, has ended or was deleted.
        topic_index: forgets which topics are listed when Redis may have lost them.
        retention: checks topics again whose retention may have changed.
        members: has sessions join again that Redis has lost.
        notes: notes groups again that Redis has lost.
        schedule_times: learns when schedules are due.
    """

    def __init__(
        self,
        runner: Runner,
        notifications: Notifications,
        topic_index: TopicIndex,
        retention: Retention,
        members: Membership,
        notes: GroupNotes,
        schedule_times: ScheduleTimes,
    ) -> None:
        self._runner = runner
        self._notifications = notifications
        self._topic_index = topic_index
        self._retention = retention
        self._members = members
        self._notes = notes
        self._schedule_times = schedule_times

    def due(self, partition: Partition, group: str, at_us: int) -> None:
        """A group has something due."""
        self._notifications.due(partition, group, at_us)

    def schedule_due(self, partition: Partition, at_us: int) -> None:
        """A schedule is due sooner than any that was known."""
        self._schedule_times.announced(partition, at_us)

    def ended(self, session: str, fencing_tokens: Sequence[int]) -> None:
        """Leases of a session of this replica have ended."""
        self._notifications.ended(session, fencing_tokens)

    def deleted(self, partition: Partition, group: str | None, at_us: int) -> None:
        """A group, or with None a topic, was deleted at ``at_us``."""
        self._notifications.deleted(partition, group, at_us)

    def limited(self, partition: Partition, group: str) -> None:
        """Every delivery of a group counts for a limit from now on."""
        self._notifications.limited(partition, group)

    def configured(self, partition: Partition) -> None:
        """The settings of a topic have changed."""
        self._retention.changed(partition)

    def moved(self, topic: str) -> None:
        """The partition count of a topic has changed. Its sessions find out when they next look."""
        self._retention.anything_may_have_changed()
        for partition, group in self._notifications.sessions.groups():
            if partition.topic == topic:
                self._notifications.due_now(partition, group)

    def leases_ran_out(self, partition: Partition, group: str) -> None:
        """Leases of a dead replica's sessions have just run out."""
        self._notifications.due_now(partition, group)

    def recheck(self) -> None:
        """Messages may have been lost: every group with sessions here looks again, in each of its partitions."""
        self._retention.anything_may_have_changed()
        for partition, group in self._notifications.sessions.groups():
            self._notifications.due_now(partition, group)
        self._schedule_times.recheck()

    async def came_back(self) -> None:
        """Register everything again, because Redis does not know this replica.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        self._topic_index.forget()
        self._members.require_rejoin(self._notifications.sessions)
        await self._runner.keep_secret()
        await self._notes.add(self._notifications.sessions.groups())
        self.recheck()
