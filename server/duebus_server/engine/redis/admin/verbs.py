"""The verbs of operators on the redis engine. Each is one script, and so one atomic step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus_server.domain.administration import CancelAnswer
from duebus_server.domain.errors import ConcurrentModification, NotFound
from duebus_server.engine.redis.admin import dead_letters
from duebus_server.engine.redis.admin.not_found import check_found
from duebus_server.engine.redis.codec import held, settings
from duebus_server.engine.redis.codec.ids import pack_id
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.administration import (
        DeadLetterFilter,
        DeadLetterProgress,
        DeadLetterStep,
        GroupChanges,
        NewDueTime,
        TopicChanges,
    )
    from duebus_server.domain.transfer import HeldEvent
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.redis.admin.deletion import Deletions
    from duebus_server.engine.redis.admin.retention import Retention
    from duebus_server.engine.redis.admin.topic_index import TopicIndex
    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.replicas.notifications import Notifications
    from duebus_server.engine.redis.transport.runner import Runner

CONFIGURE, PAUSE, RESUME, CANCEL, RESCHEDULE, REDRIVE, PURGE, IMPORT = map(
    Script, ("configure", "pause", "resume", "cancel", "reschedule", "redrive", "purge", "import_events")
)

_BUSY, _NO_EVENT = b"busy", b"event"
"""As in ``reschedule.lua``: a copy is leased or dead; some events do not exist."""


class AdminVerbs:
    """Changes topics, groups and events; ``engine.base.Engine`` documents the guarantees of each verb."""

    _runner: Runner
    _defaults: TopicConfig
    notifications: Notifications
    topic_index: TopicIndex
    deletions: Deletions
    retention: Retention

    # --- topics and groups ------------------------------------------------------------------------------------------

    async def configure_topic(self, partition: Partition, changes: TopicChanges) -> TopicConfig:
        """See ``Engine.configure_topic``."""
        await self.retention.before(partition.topic, changes)
        refused, stored, _ = await self._configure(partition, "", settings.topic_pairs(changes))
        config = settings.topic_changes(settings.pairs_of(stored)).over(self._defaults)
        if refused:
            changes.applied_to(config)  # raises, and names the one that is wrong
        elif changes:
            await self.topic_index.is_new(partition.topic)
            await self.retention.after(partition, changes)
        return config

    async def configure_group(self, partition: Partition, group: str, changes: GroupChanges) -> TopicConfig:
        """See ``Engine.configure_group``."""
        refused, stored, own = await self._configure(partition, group, settings.group_pairs(changes))
        config = settings.topic_changes(settings.pairs_of(stored)).over(self._defaults)
        in_force = settings.topic_changes(settings.pairs_of(own)).for_group().over(config)
        if refused:
            changes.retry_policy.applied_to(in_force.retry_policy)
        return in_force

    async def delete_topic(self, partition: Partition) -> int:
        """See ``Engine.delete_topic``. Redis releases the memory on a separate thread."""
        return await self.deletions.topic(partition.topic)

    async def delete_group(self, partition: Partition, group: str) -> int:
        """See ``Engine.delete_group``. It is removed in one step; its events are released in several."""
        return await self.deletions.group(partition, group)

    async def pause_group(self, partition: Partition, group: str) -> None:
        """See ``Engine.pause_group``."""
        self._announce(partition, group, await self._runner.run(PAUSE, partition, group))

    async def resume_group(self, partition: Partition, group: str) -> None:
        """See ``Engine.resume_group``."""
        self._announce(partition, group, await self._runner.run(RESUME, partition, group))

    def _announce(self, partition: Partition, group: str, reply: list[Any]) -> None:
        """Notify the sessions that wait that the group was paused or resumed."""
        now, missing, *due = reply
        self.notifications.answered(now)
        check_found(missing, partition, group)
        self.notifications.due(partition, group, due[0])

    # --- events -----------------------------------------------------------------------------------------------------

    async def cancel(self, partition: Partition, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """See ``Engine.cancel``."""
        own = (self._max_retries, self._defaults.dedupe_window_us)
        now, ended, missing, *rest = await self._runner.run(
            CANCEL, partition, *_where(group), *own, *map(pack_id, event_ids)
        )
        self.notifications.answered(now, ended)
        check_found(missing, partition, group)
        cancelled, left_alone, unknown, freed = rest
        for name, at in zip(freed[::2], freed[1::2], strict=True):
            self.notifications.due(partition, name.decode(), at)
        return CancelAnswer(
            cancelled, [event_ids[index] for index in left_alone], [event_ids[index] for index in unknown]
        )

    async def reschedule(
        self, partition: Partition, event_ids: Sequence[str], group: str | None, due: NewDueTime
    ) -> int:
        """See ``Engine.reschedule``."""
        missing = await self.try_to_reschedule(partition, event_ids, group, due)
        if missing:
            raise NotFound("event", missing[0], topic=partition.topic)
        return len(event_ids)

    async def try_to_reschedule(
        self, partition: Partition, event_ids: Sequence[str], group: str | None, due: NewDueTime | None
    ) -> Sequence[str]:
        """Reschedule events if all are scheduled or ready; without a due time, only check that.

        Returns:
            The missing events. If there are any, none was moved.

        Raises:
            NotFound: no such topic or group.
            ConcurrentModification: one of them is leased or dead.
        """
        when = "" if due is None else f"d{due.delay_us}" if due.delay_us is not None else f"a{due.deliver_at_us or 0}"
        own = (self._max_retries, when)
        now, ended, missing, *rest = await self._runner.run(
            RESCHEDULE, partition, *_where(group), *own, *map(pack_id, event_ids)
        )
        self.notifications.answered(now, ended)
        if missing == _BUSY:
            raise _busy(partition, event_ids, *rest)
        if missing == _NO_EVENT:
            return [event_ids[index] for index in rest]
        check_found(missing, partition, group)
        (dues,) = rest
        for name, at in zip(dues[::2], dues[1::2], strict=True):
            self.notifications.due(partition, name.decode(), at)
        return ()

    async def redrive(
        self, partition: Partition, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """See ``Engine.redrive``."""
        own = (repr(step.rate), step.moved)
        progress, (name, due) = await self._step(REDRIVE, partition, group, chosen, step, own)
        self.notifications.due(partition, name.decode(), due)
        return progress

    async def purge(
        self, partition: Partition, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """See ``Engine.purge``."""
        own = (self._defaults.dedupe_window_us, "")
        progress, (name, due) = await self._step(PURGE, partition, group, chosen, step, own)
        self.notifications.due(partition, name.decode(), due)
        return progress

    async def import_events(self, partition: Partition, events: Sequence[HeldEvent]) -> int:
        """See ``PartitionedEngine.import_events``."""
        await self.topic_index.before(partition.topic)
        now, stored, report = await self._runner.run(IMPORT, partition, *held.arguments(events))
        if stored < 0:
            raise NotFound("group", report.decode(), topic=partition.topic)
        self.notifications.answered(now)
        for group, due in zip(report[::2], report[1::2], strict=True):
            self.notifications.due(partition, group.decode(), due)
        return int(stored)

    # --- the pieces -------------------------------------------------------------------------------------------------

    @property
    def _max_retries(self) -> int:
        return self._defaults.retry_policy.max_retries

    async def _configure(
        self, partition: Partition, group: str, changes: Sequence[Any]
    ) -> tuple[bool, list[bytes], list[bytes]]:
        """Whether the changes were refused, the topic's settings, and the group's, as Redis holds them."""
        policy = self._defaults.retry_policy
        backoff = (policy.backoff_initial_us, policy.backoff_max_us)
        now, missing, *rest = await self._runner.run(CONFIGURE, partition, group, *backoff, *changes)
        self.notifications.answered(now)
        check_found(missing, partition, group)
        refused, stored, own, dues = rest
        for name, at, is_limited in zip(dues[::3], dues[1::3], dues[2::3], strict=True):
            self.notifications.due(partition, name.decode(), at)
            if is_limited:
                self.notifications.limited(partition, name.decode())
        return refused == 1, stored, own

    async def _step(
        self,
        script: Script,
        partition: Partition,
        group: str,
        chosen: DeadLetterFilter,
        step: DeadLetterStep,
        own: tuple[Any, Any],
    ) -> tuple[DeadLetterProgress, list[Any]]:
        """One step through the dead letters, and the rest of the script's answer."""
        arguments = dead_letters.arguments(group, chosen, step, self._max_retries, own)
        now, ended, missing, *rest = await self._runner.run(script, partition, *arguments)
        self.notifications.answered(now, ended)
        check_found(missing, partition, group)
        return dead_letters.progress(chosen, step, rest[:5]), rest[5:]


def _where(group: str | None) -> tuple[int, str]:
    """Every group or one, as arguments of the scripts."""
    return (1, "") if group is None else (0, group)


def _busy(
    partition: Partition, event_ids: Sequence[str], index: int, group: bytes, state: bytes
) -> ConcurrentModification:
    event_id, name, what = event_ids[index], group.decode(), state.decode()
    return ConcurrentModification(
        f"event {event_id!r} is {what} in group {name!r}",
        metadata={"event": event_id, "topic": partition.topic, "group": name, "state": what},
    )
