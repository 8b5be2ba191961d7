"""Schedules in Redis. Each is in the partition of its events, so that one script can fire it.

``NS:schedules`` says where. On a cluster that is on another node, so a name is noted there before its schedule is
stored, and noted again afterwards, in case another replica has found it without a schedule and removed it meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import structlog

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import (
    DispatcherNotWorking,
    InvalidArgument,
    NotFound,
    PartitionsChanging,
    TopicHasSchedules,
)
from duebus_server.domain.schedules import (
    MAX_ANSWER_BYTES,
    DueSchedules,
    FiringOutcome,
    fills_answer,
    for_one_answer,
)
from duebus_server.engine.redis.codec import schedules as codec
from duebus_server.engine.redis.codec.leases import read_time
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.partitioned.dispatch import partition_of
from duebus_server.engine.redis.tasks import all_of
from duebus_server.engine.redis.transport.errors import asking, is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duebus_server.domain.schedules import Firing, ScheduleRecord
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.redis.engine import RedisEngine
    from duebus_server.engine.redis.partitioned.routing import Routing
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

PUT, DELETE, READ, DUE = map(Script, ("put_schedule", "delete_schedule", "read_schedules", "due_schedules"))
LIST, FORGET = map(Script, ("list_schedules", "forget_schedule"))
FIRE = {
    has_key: Script("fire", without=["hand_over", *(() if has_key else ["ordering", "slots", "admission"])])
    for has_key in (False, True)
}

UNLIMITED = 1 << 31

FIRED_AT_ONCE = 100
"""How many schedules one script fires; it blocks Redis for a few milliseconds."""

READ_AT_ONCE = 1_000

PARTITIONS_AT_ONCE = 16
"""In how many partitions to look, or fire, at the same time. They share MAX_ANSWER_BYTES."""

RETRY_US = SECOND
"""How long a partition is left alone that Redis can't work on."""


class Schedules:
    """The verbs of ``engine.base.Engine`` on schedules.

    Args:
        engine: reports what was dispatched.
        runner: runs scripts.
        routing: finds the partitions of topics.
        defaults: the settings of topics.

    Raises, in all methods:
        DispatcherNotWorking: Redis can't be reached or refuses the command.
    """

    def __init__(self, engine: RedisEngine, runner: Runner, routing: Routing, defaults: TopicConfig) -> None:
        self._engine = engine
        self._runner = runner
        self._routing = routing
        self._times = engine.schedule_times
        self._defaults = defaults
        # The names that this replica has noted, or found noted.
        self._noted: set[str] = set()

    # --- stored schedules -------------------------------------------------------------------------------------------

    async def save(self, record: ScheduleRecord, replaces: int, most: int) -> bool:
        """See ``Engine.save_schedule``.

        Raises:
            InvalidArgument: also if its events would go to another partition.
        """

        async def save(partitions: Sequence[Partition]) -> bool:
            partition = _belongs_in(partitions, record)
            await self._claim(record, partition, UNLIMITED if replaces else most)
            now, is_stored, first = await self._runner.run(PUT, partition, record.name, replaces, *codec.fields(record))
            self._runner.observe(now)
            if is_stored and not replaces and await self._note({record.name: partition}) != [partition]:
                # Another replica has put one of this name elsewhere meanwhile.
                await self._runner.run(DELETE, partition, record.name)
                return False
            if (first_us := read_time(first)) is not None:
                self._times.announced(partition, first_us)
            return bool(is_stored)

        return await self._routing.routed(record.topic, save)

    async def _claim(self, record: ScheduleRecord, partition: Partition, most: int) -> None:
        """Note where a schedule is to be.

        Raises:
            TopicHasSchedules: it is in another topic.
            InvalidArgument: it is in another partition; or it is new, and there are ``most`` already.
        """
        while noted := await self._note({record.name: partition}, most):
            (place,) = noted
            if place == partition:
                return
            if await self._holds(place, record.name):
                if place.topic != record.topic:
                    raise TopicHasSchedules(place.topic, record.name)
                raise InvalidArgument(
                    "schedule.event.key", "can't change on a topic with several partitions: delete the schedule first"
                )
            await self._forget(record.name, place)
        raise InvalidArgument("schedule", f"the engine may have at most {most} schedules, and has as many")

    async def get(self, name: str) -> ScheduleRecord:
        """See ``Engine.get_schedule``."""
        place = await self._place(name)
        record = (await self._read(place, [name]))[0].get(name) if place else None
        if record is None:
            raise NotFound("schedule", name)
        return record

    async def page(self, after: str, limit: int) -> list[ScheduleRecord]:
        """See ``Engine.list_schedules``. Names without a schedule are removed."""
        places = await self._places()
        names = sorted(name for name in places if name > after)
        records: list[ScheduleRecord] = []
        while names and not fills_answer(records, limit):
            found, read = await self._read_first(names[: limit - len(records)], places)
            for name in names[:read]:
                if name not in found:
                    log.warning("a schedule is gone that was noted", schedule=name, topic=places[name].topic)
                    await self._forget(name, places[name])
            records += [record for name in names[:read] if (record := found.get(name)) is not None]
            names = names[read:]
        return for_one_answer(records, limit)

    async def _read_first(
        self, names: Sequence[str], places: Mapping[str, Partition]
    ) -> tuple[dict[str, ScheduleRecord | None], int]:
        """Read the first of these schedules, as many as fit. Returns them as ``_read`` does, and how many names were
        read.
        """
        by_place: dict[Partition, list[str]] = defaultdict(list)
        for name in names:
            if places[name] not in by_place and len(by_place) == PARTITIONS_AT_ONCE:
                break
            by_place[places[name]].append(name)
        most_bytes = MAX_ANSWER_BYTES // len(by_place)
        answers = await all_of([self._read(place, those, most_bytes) for place, those in by_place.items()])
        found: dict[str, ScheduleRecord | None] = {}
        read: set[str] = set()
        for those, (records, count) in zip(by_place.values(), answers, strict=True):
            found |= records
            read.update(those[:count])
        return found, next((index for index, name in enumerate(names) if name not in read), len(names))

    async def delete(self, name: str) -> None:
        """See ``Engine.delete_schedule``."""
        place = await self._place(name)
        if place is None:
            raise NotFound("schedule", name)
        removed = await self._holds(place, name) and await self._runner.run(DELETE, place, name)
        await self._forget(name, place)
        if not removed:
            raise NotFound("schedule", name)

    async def of_topic(self, topic: str) -> str | None:
        """The name of a schedule of a topic; None if it has none."""
        for name, place in (await self._places()).items():
            if place.topic == topic and await self._holds(place, name):
                return name
        return None

    # --- firing -----------------------------------------------------------------------------------------------------

    async def due(self, limit: int) -> DueSchedules:
        """See ``Engine.due_schedules``."""
        if self._times.list_is_due:
            places = await self._places()
            self._noted = set(places)
            self._times.listed(set(places.values()))
        records: list[ScheduleRecord] = []
        partitions, asked = self._times.due(), 0
        following: list[int | None] = []
        while asked < len(partitions) and not fills_answer(records, limit):
            some = partitions[asked : asked + PARTITIONS_AT_ONCE]
            asked += len(some)
            most_bytes = MAX_ANSWER_BYTES // len(some)
            for found, next_us in await all_of([self._due_in(partition, limit, most_bytes) for partition in some]):
                records += found
                following.append(next_us)
        await self._note_found(records)
        records.sort(key=lambda record: record.due_us or 0)
        chosen = for_one_answer(records, limit)
        following += [record.due_us for record in records[len(chosen) :]]
        following.append(self._times.first_besides(set(partitions[:asked])))
        return DueSchedules(chosen, min((at_us for at_us in following if at_us is not None), default=None))

    async def _due_in(
        self, partition: Partition, limit: int, most_bytes: int
    ) -> tuple[list[ScheduleRecord], int | None]:
        """Up to ``limit`` schedules of a partition that are due, and when the first of the others is. If Redis can't
        read them, that is when to try again.
        """
        heard = self._times.heard
        try:
            now, found, next_due, damaged = await self._runner.run(DUE, partition, limit, most_bytes)
        except PartitionsChanging:
            await self._follow(partition)
            return [], self._runner.now_us()
        except DispatcherNotWorking as error:
            return [], self._leave_alone(partition, error)
        self._runner.observe(now)
        for name in damaged:
            log.error("a schedule is damaged: put it again", schedule=name.decode(errors="replace"))
        records = [
            codec.read(name.decode(), partition.topic, fields)
            for name, fields in zip(found[::2], found[1::2], strict=True)
        ]
        if records and len(self._routing.partitions(partition.topic)) != partition.count:
            await self._routing.refresh(partition.topic)
        next_us = read_time(next_due)
        # Those that are found stay due here until they are fired.
        self._times.found(partition, int(now) if records else next_us, heard)
        return records, next_us

    async def fire(self, firings: Sequence[Firing]) -> list[FiringOutcome]:
        """See ``Engine.fire_schedules``."""
        by_partition: dict[Partition, list[int]] = defaultdict(list)
        for index, firing in enumerate(firings):
            partitions = self._routing.partitions(firing.record.topic)
            by_partition[_belongs_in(partitions, firing.record)].append(index)
        steps = [
            (partition, those[first : first + FIRED_AT_ONCE])
            for partition, those in by_partition.items()
            for first in range(0, len(those), FIRED_AT_ONCE)
        ]
        outcomes: dict[int, FiringOutcome] = {}
        for first in range(0, len(steps), PARTITIONS_AT_ONCE):
            some = steps[first : first + PARTITIONS_AT_ONCE]
            found = await all_of([self._fire_in(partition, [firings[index] for index in at]) for partition, at in some])
            for (_, at), given in zip(some, found, strict=True):
                outcomes.update(zip(at, given, strict=True))
        self._times.report()
        return [outcomes[index] for index in range(len(firings))]

    async def _fire_in(self, partition: Partition, firings: Sequence[Firing]) -> Sequence[FiringOutcome]:
        """Fire schedules of a partition in one step. If that fails, they stay due, and are tried again later."""
        own = [argument for firing in firings for argument in codec.firing_arguments(firing)]
        script = FIRE[any(firing.event is not None and firing.event.key for firing in firings)]
        config, heard = self._defaults, self._times.heard
        try:
            await self._engine.topic_index.before(partition.topic)
            now, outcomes, first, dispatched = await self._runner.run(
                script, partition, config.max_queued, config.dedupe_window_us, len(firings), *own
            )
        except PartitionsChanging:
            await self._follow(partition)
            return [FiringOutcome.CHANGED] * len(firings)
        except DispatcherNotWorking as error:
            self._leave_alone(partition, error)
            return [FiringOutcome.CHANGED] * len(firings)
        self._runner.observe(now)
        self._times.found(partition, read_time(first), heard)
        if dispatched:
            await self._dispatched(partition, dispatched)
        return [codec.OUTCOMES[outcome] for outcome in outcomes]

    async def _dispatched(self, partition: Partition, answer: Sequence[Any]) -> None:
        """Report what has been dispatched."""
        _, dues, _, is_new, _ = answer
        for group, due in zip(dues[::2], dues[1::2], strict=True):
            self._engine.notifications.due(partition, group.decode(), due)
        if is_new:
            await self._engine.topic_index.is_new(partition.topic)

    # --- the pieces -------------------------------------------------------------------------------------------------

    async def _read(
        self, partition: Partition, names: Sequence[str], most_bytes: int = MAX_ANSWER_BYTES
    ) -> tuple[dict[str, ScheduleRecord | None], int]:
        """The first of these schedules, as many as fit. Returns those that are in the partition, None for a damaged
        one, and how many names were read.
        """
        some = names[:READ_AT_ONCE]
        try:
            answers = await self._runner.run(READ, partition, most_bytes, *some)
        except PartitionsChanging:
            return {}, len(some)  # while a topic has schedules, its partitions don't change
        return {
            name: codec.read(name, partition.topic, fields) if fields else None
            for name, fields in zip(some, answers, strict=False)
            if fields is not None
        }, len(answers)

    async def _holds(self, partition: Partition, name: str) -> bool:
        """Whether a schedule is in a partition, even if it is damaged."""
        found, _ = await self._read(partition, [name])
        return name in found

    async def _place(self, name: str) -> Partition | None:
        async with asking(""):
            place = await self._runner.connection.redis.hget(self._runner.keys.schedules, name)
        return None if place is None else Partition.read(place.decode(errors="replace"))

    async def _places(self) -> dict[str, Partition]:
        """Where all schedules are."""
        async with asking(""):
            noted: Mapping[bytes, bytes] = await self._runner.connection.redis.hgetall(self._runner.keys.schedules)
        places = {place: Partition.read(place.decode(errors="replace")) for place in set(noted.values())}
        return {name.decode(errors="replace"): places[place] for name, place in noted.items()}

    async def _note(self, places: Mapping[str, Partition], most: int = UNLIMITED) -> list[Partition]:
        """Note where schedules are. Returns the places that are noted now; without those of refused ones."""
        flat = [text for name, place in places.items() for text in (name, str(place))]
        noted = await self._runner.run_on([self._runner.keys.schedules], LIST, "", most, *flat)
        return [Partition.read(place.decode(errors="replace")) for place in noted if place]

    async def _note_found(self, records: Sequence[ScheduleRecord]) -> None:
        """Note schedules that this replica sees for the first time, in case Redis has lost the note."""
        new = [record for record in records if record.name not in self._noted]
        for first in range(0, len(new), READ_AT_ONCE):
            some = new[first : first + READ_AT_ONCE]
            await self._note({one.name: _belongs_in(self._routing.partitions(one.topic), one) for one in some})
        self._noted.update(record.name for record in new)

    async def _forget(self, name: str, place: Partition) -> None:
        """Remove the note of a schedule that is not in this place, unless it was put again meanwhile."""
        self._noted.discard(name)
        await self._runner.run_on([self._runner.keys.schedules], FORGET, "", name, str(place))
        if await self._holds(place, name):
            await self._note({name: place})

    async def _follow(self, partition: Partition) -> None:
        """A partition is closed: find out which ones the topic has."""
        self._times.moved(partition)
        await self._routing.refresh(partition.topic)

    def _leave_alone(self, partition: Partition, error: DispatcherNotWorking) -> int:
        """Skip a partition that Redis can't work on. Returns until when.

        Raises:
            DispatcherNotWorking: Redis can't be reached.
        """
        if is_lost(error.__cause__):
            raise error
        log.warning("schedules wait", partition=str(partition), error=str(error))
        again_us = self._runner.now_us() + RETRY_US
        self._times.found(partition, again_us, self._times.heard)
        return again_us


def _belongs_in(partitions: Sequence[Partition], record: ScheduleRecord) -> Partition:
    return partition_of(partitions, record.key or record.name)
