"""What topics and groups did in each of the last minutes, over all replicas.

Each replica counts in memory, once for each batch, and adds what it has counted to Redis a few seconds later. So the
scripts that move events do nothing for it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.minutes import KEPT_MINUTES, MinuteOfTopic, Tally, by_minute, minute_of
from duebus_server.engine.redis.tasks import all_of
from duebus_server.engine.redis.transport.errors import asking
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from duebus_server.domain.model import LeaseBatch
    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

ADD_MINUTES = Script("add_minutes")

SAVED_AFTER_US = 3 * SECOND
"""How long a topic's counts wait to be saved, so that a busy topic does not cost a command in every sweep."""

SAVED_AT_ONCE = 200
"""For how many topics a sweep saves counts. The others wait for the next one."""

MAX_WAITING = 20_000
"""For how many topics counts may wait to be saved. Of more topics, nothing is counted."""

MAX_TALLIES = 500
"""How many tallies of a topic may wait to be saved. Of more groups, nothing is counted: the hash stays small enough to
be read in one step."""

KEPT_S = KEPT_MINUTES * MINUTE // SECOND


@dataclass(slots=True)
class _Waiting:
    """Counts of a topic that are not saved yet.

    Attributes:
        since_us: when the first was counted.
        tallies: by field of the hash: minute, and for a group a colon and its name.
    """

    since_us: int
    tallies: dict[str, Tally] = field(default_factory=dict)


class MinutesOfTopics:
    """Counts what this replica does, and reads what all replicas did.

    Args:
        runner: runs scripts.
        place: the partition of a topic whose slot has its minutes.
    """

    def __init__(self, runner: Runner, place: Callable[[str], Partition]) -> None:
        self._runner = runner
        self._place = place
        # The topic that has waited longest is the first.
        self._waiting: dict[str, _Waiting] = {}

    # --- counting ---------------------------------------------------------------------------------------------------

    def dispatched(self, topic: str, count: int) -> None:
        """Events were stored."""
        if count:
            self._tally(topic, None, self._runner.now_us()).dispatched += count

    def delivered(self, topic: str, group: str, batch: LeaseBatch) -> None:
        """Events were leased."""
        if batch.events:
            now_us = self._runner.now_us()
            self._tally(topic, group, now_us).add_delivered(batch.events, now_us)

    def acked(self, topic: str, group: str, count: int) -> None:
        """Events are done."""
        if count:
            self._tally(topic, group, self._runner.now_us()).acked += count

    def nacked(self, topic: str, group: str, count: int) -> None:
        """Events were given back."""
        if count:
            self._tally(topic, group, self._runner.now_us()).nacked += count

    def died(self, topic: str, group: str, count: int) -> None:
        """Events became dead letters."""
        self._tally(topic, group, self._runner.now_us()).dead += count

    def deleted(self, topic: str, group: str | None) -> None:
        """The group is gone, or with None the topic: what was counted of it and not saved goes with it."""
        if group is None:
            self._waiting.pop(topic, None)
        elif (waiting := self._waiting.get(topic)) is not None:
            for name in [name for name in waiting.tallies if name.partition(":")[2] == group]:
                del waiting.tallies[name]

    def _tally(self, topic: str, group: str | None, now_us: int) -> Tally:
        waiting = self._waiting.get(topic)
        if waiting is None:
            waiting = _Waiting(now_us)
            if len(self._waiting) < MAX_WAITING:
                self._waiting[topic] = waiting
        minute = minute_of(now_us)
        name = str(minute) if group is None else f"{minute}:{group}"
        tally = waiting.tallies.get(name)
        if tally is None:
            tally = Tally()
            if len(waiting.tallies) < MAX_TALLIES:
                waiting.tallies[name] = tally
        return tally

    # --- saving -----------------------------------------------------------------------------------------------------

    async def save_some(self) -> None:
        """Save the counts of some topics whose time has come."""
        before_us = self._runner.now_us() - SAVED_AFTER_US
        first = islice(self._waiting.items(), SAVED_AT_ONCE)
        await self._save([topic for topic, waiting in first if waiting.since_us <= before_us])

    async def save_last(self) -> None:
        """Save the counts of some topics before the replica stops."""
        await self._save(list(islice(self._waiting, SAVED_AT_ONCE)))

    async def _save(self, topics: Iterable[str]) -> None:
        """Save the counts of these topics. They are only a statistic: those that can't be saved are lost."""
        try:
            await all_of([self._add(topic, self._waiting.pop(topic)) for topic in topics])
        except DispatcherNotWorking as error:
            log.debug("counts by the minute are lost", error=str(error))

    async def _add(self, topic: str, waiting: _Waiting) -> None:
        key = self._runner.keys.topic(self._place(topic), "minutes")
        first = minute_of(self._runner.now_us()) - KEPT_MINUTES + 1
        flat = [part for name, tally in waiting.tallies.items() for part in (name, tally.text)]
        await self._runner.run_on([key], ADD_MINUTES, topic, first, KEPT_S, *flat)

    # --- reading ----------------------------------------------------------------------------------------------------

    async def read(self, topic: str) -> list[MinuteOfTopic]:
        """See ``Engine.minutes``. What this replica has counted is among it.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        if topic in self._waiting:
            await self._save([topic])
        async with asking(topic):
            stored = await self._runner.connection.redis.hgetall(self._runner.keys.topic(self._place(topic), "minutes"))
        first = minute_of(self._runner.now_us()) - KEPT_MINUTES + 1
        of_topic: dict[int, Tally] = {}
        of_groups: dict[str, dict[int, Tally]] = defaultdict(dict)
        for name, text in stored.items():
            number, is_of_group, group = name.decode(errors="replace").partition(":")
            if number.isdecimal() and int(number) >= first:
                tallies = of_groups[group] if is_of_group else of_topic
                tallies[int(number)] = Tally.of_text(text.decode(errors="replace"))
        return by_minute(of_topic, of_groups)
