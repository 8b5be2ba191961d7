"""Which partition has an event whose id a client chose: ids are unique over all partitions of a topic.

An id is at home in one partition, whichever its event is in. Before an event is stored elsewhere, its id is pinned at
home to where that is. The protocol and what holds at each point at which it can break off stand in ``DATA_MODEL.md``.
"""

from __future__ import annotations

from asyncio import gather
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import structlog

from duebus_server.domain.clock import MILLISECOND, MINUTE, SECOND
from duebus_server.domain.errors import DispatcherNotWorking, Moved
from duebus_server.engine.redis.codec.ids import pack_id
from duebus_server.engine.redis.partitioned.partitions import count_of, home_of, number_of, partition, topic_of
from duebus_server.engine.redis.transport.errors import asking, is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duebus_server.engine.redis.admin.topic_index import Listing
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

PIN, REPIN, KNOWN = map(Script, ("pin", "repin", "known"))

ALWAYS_US = 1 << 52
"""Until when pins hold where none are needed."""
VALID_US = 20 * SECOND
"""A dispatch is refused when it comes so long after its pins were made."""
FREE_US = MINUTE
"""A pin to an event that its partition does not know can be moved when it was not used for so long: no dispatch that
counts on it can come any more, even if the clocks of two nodes differ by half a minute.
"""
KEPT_US = 10 * MINUTE
"""After so long a pin is looked at, and goes if its event is not known any more."""
SWEEP_EVERY_US = MINUTE
SWEPT_AT_ONCE = 1_000

_UNIT = 64
"""As in ``pins.lua``."""
_HERE = b"here"


class Pin(NamedTuple):
    """A pin: where the id is at home, which event it is, and the score."""

    home: str
    event_id: str
    score: bytes

    @property
    def holder(self) -> str:
        """The partition that may have the event."""
        return partition(topic_of(self.home), int(float(self.score)) % _UNIT, count_of(self.home))

    @property
    def used_us(self) -> int:
        """When it was last used, by the clock of its home."""
        return int(float(self.score)) // _UNIT * MILLISECOND


class Pins:
    """The pins of all topics that are spread.

    Raises, in all methods:
        DispatcherNotWorking: Redis is away, or refuses.
    """

    def __init__(self, runner: Runner, listing: Listing) -> None:
        self._runner = runner
        self._listing = listing
        self._next_sweep_us = 0

    async def take(self, target: str, event_ids: Sequence[str]) -> tuple[set[str], set[str], int]:
        """Pin ids to the partition in which their events are about to be stored.

        Returns:
            Ids of events that another partition knows; ids that can't be had just now; and until when the pins hold, by
            the clock of the node that has least of it, in microseconds.
        """
        homes: dict[str, list[str]] = defaultdict(list)
        for event_id in event_ids:
            homes[partition(topic_of(target), home_of(event_id, count_of(target)), count_of(target))].append(event_id)
        homes.pop(target, None)  # there the dispatch itself looks
        asked = list(homes.items())
        replies = await gather(*(self._pin(home, target, ids) for home, ids in asked))
        known: set[str] = set()
        taken: set[str] = set()
        for (home, ids), (now, results) in zip(asked, replies, strict=True):
            known.update(event_id for event_id, result in zip(ids, results, strict=True) if result == _HERE)
            for event_id, result in zip(ids, results, strict=True):
                pin = Pin(home, event_id, result)
                if result not in (b"", _HERE) and not await self.settle(pin, known, int(now), str(number_of(target))):
                    taken.add(event_id)
        valid_us = min((int(now) + VALID_US for now, _ in replies), default=ALWAYS_US)
        return known, taken, valid_us

    async def settle(self, pin: Pin, known: set[str], now_us: int | None = None, number: str = "") -> bool:
        """What a pin to another partition means: its event is ``known`` there, or the pin can be changed.

        Args:
            pin: as it was found.
            known: the id is added if it is known there.
            now_us: what time it was at its home then.
            number: the partition it is pinned to from now on; '' for none.

        Returns:
            False when a dispatch to the other partition may be under way, and this has to wait.
        """
        _, results = await self._runner.run(KNOWN, pin.holder, pack_id(pin.event_id))
        if results[0]:
            known.add(pin.event_id)
            return True
        if (self._runner.now_us() if now_us is None else now_us) - pin.used_us < FREE_US:
            return False
        (moved,) = await self._runner.run(REPIN, pin.home, pack_id(pin.event_id), pin.score, number)
        return bool(moved)

    async def _pin(self, home: str, target: str, event_ids: Iterable[str]) -> tuple[bytes, list[bytes]]:
        now, results = await self._runner.run(PIN, home, number_of(target), *map(pack_id, event_ids))
        return now, results

    # --- pins that nobody needs any more ----------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Remove pins to events that are gone and forgotten."""
        now_us = self._runner.now_us()
        if now_us < self._next_sweep_us:
            return
        self._next_sweep_us = now_us + SWEEP_EVERY_US
        for home in await self._listing.partitions():
            try:
                while await self._sweep(home, now_us):
                    pass
            except Moved:
                continue
            except DispatcherNotWorking as error:
                if is_lost(error.__cause__):
                    raise
                log.warning("partition passed over", partition=home, error=str(error))

    async def _sweep(self, home: str, now_us: int) -> bool:
        """One step; whether there may be more."""
        before = (now_us - KEPT_US) // MILLISECOND * _UNIT
        key = self._runner.keys.topic(home, "pinned")
        async with asking(home):
            oldest = await self._runner.connection.redis.zrangebyscore(
                key, "-inf", before, start=0, num=SWEPT_AT_ONCE, withscores=True
            )
        holders: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
        for packed_id, score in oldest:
            holder = partition(topic_of(home), int(score) % _UNIT, count_of(home))
            holders[holder].append((packed_id, int(score)))
        changes: list[bytes | str | int] = []
        for holder, pins in holders.items():
            _, results = await self._runner.run(KNOWN, holder, *(packed_id for packed_id, _ in pins))
            for (packed_id, score), result in zip(pins, results, strict=True):
                changes += (packed_id, score, number_of(holder) if result else "")
        if changes:
            await self._runner.run(REPIN, home, *changes)
        return len(oldest) == SWEPT_AT_ONCE
