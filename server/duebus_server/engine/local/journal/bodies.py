"""Bodies that are on the disk only.

The body of an event that is not due soon leaves memory once its record is written. It is read again before the event is
due, or when a lease, a view or a copy needs it earlier. In memory a number stands for it: where the segment has it, its
checksum and its size.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, islice
from typing import TYPE_CHECKING
from zlib import crc32

from duebus_server.domain.clock import MINUTE
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.states import EventState
from duebus_server.engine.local.records import SIZE_BITS, SIZE_MASK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duebus_server.engine.local.due_index import DueIndex
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.journal.commit import GroupCommit
    from duebus_server.engine.local.journal.directory import DataDirectory
    from duebus_server.engine.local.journal.disk import Disk
    from duebus_server.engine.local.journal.records import Copied
    from duebus_server.engine.local.records import Entry, Segment, StoredEvent

SOON_US = 2 * MINUTE
"""Bodies of events that are due within this time are in memory. It is more than the longest pause between sweeps."""

READ_AT_ONCE = 500
"""How many bodies are read in one turn of the reading thread."""

SCAN_AT_ONCE = 10_000
"""How many events of a group one sweep looks at. It takes a few milliseconds."""

_CRC_SHIFT = SIZE_BITS
_OFFSET_SHIFT = SIZE_BITS + 32


def locations(end: int, bodies: Sequence[bytes]) -> Iterator[int]:
    """The number that stands for each of these bodies in memory. They follow each other in a segment, up to ``end``."""
    offsets = accumulate(map(len, bodies), initial=end - sum(map(len, bodies)))
    for offset, body in zip(offsets, bodies, strict=False):  # one offset more: the end
        yield offset << _OFFSET_SHIFT | crc32(body) << _CRC_SHIFT | len(body)


def is_far_off(event: StoredEvent, now_us: int, ahead_us: int) -> bool:
    """Whether an event is not due soon, in the first group that got it.

    Args:
        event: the event.
        now_us: the time, by the engine's clock.
        ahead_us: how far the host's clock is ahead of it.
    """
    until_us = now_us + SOON_US + (ahead_us if event.by_host_clock else 0)
    return event.state is EventState.SCHEDULED and event.at_us > until_us


class Bodies:
    """Takes bodies out of memory and brings them back. Use it on the event loop only.

    Args:
        directory: where the segments are.
        disk: the operating system.
        commit: writes the segments, and fails if they can't be read.
    """

    def __init__(self, directory: DataDirectory, disk: Disk, commit: GroupCommit) -> None:
        self._directory = directory
        self._disk = disk
        self._commit = commit
        # Events whose bodies leave memory once the journal is written up to a position; with their segment.
        self._evicting: deque[tuple[int, Segment, list[tuple[StoredEvent, int]]]] = deque()
        self._soon: deque[StoredEvent] = deque()
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "journal bodies")
        # Held while a segment is read or removed.
        self._files = asyncio.Lock()
        self._is_stopped = False

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        async with self._files:
            self._is_stopped = True
        await asyncio.to_thread(self._thread.shutdown)

    # --- out of memory ------------------------------------------------------------------------------------------------

    def evict(self, segment: Segment, events: Sequence[tuple[StoredEvent, int]]) -> None:
        """Take bodies out of memory once all that was appended so far is written.

        Args:
            segment: the segment that the events were just appended to.
            events: each with the location of its body.
        """
        if events:
            self._evicting.append((self._commit.position, segment, list(events)))

    def copied(self, segment: Segment, record: Copied) -> None:
        """Events were appended to a segment again. Bodies on the disk are in memory until that is written."""
        located = zip(record.events, record.bodies, locations(segment.size - record.tail, record.bodies), strict=True)
        moved = [(event, body, location) for event, body, location in located if event.is_on_disk]
        for event, body, _ in moved:
            event.content = body
        self.evict(segment, [(event, location) for event, _, location in moved])

    def evict_written(self) -> None:
        """Take those bodies out of memory whose records are written."""
        while self._evicting and self._evicting[0][0] <= self._commit.saved:
            _, segment, events = self._evicting.popleft()
            for event, location in events:
                if event.arrival.segment is segment:  # otherwise it was copied meanwhile
                    event.content = location

    async def remove(self, segment: Segment) -> None:
        """Remove a segment whose events were copied.

        Raises:
            DispatcherNotWorking: the disk refuses.
        """
        async with self._files:
            await self._commit.remove(segment.number)

    # --- back into memory ---------------------------------------------------------------------------------------------

    def prefetch(self, group: Group, now_us: int, ahead_us: int) -> None:
        """Begin to read the bodies of events of a group that are due soon."""
        for number, index in enumerate(group.indexes.all_of(EventState.SCHEDULED)):
            self._scan(group, number, index, now_us + SOON_US, ahead_us)
        if self._soon and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._load_soon(), name="journal bodies")

    def _scan(self, group: Group, number: int, index: DueIndex[Entry], until_us: int, ahead_us: int) -> None:
        """Find bodies to read. Those of the events up to the last one examined are in memory, or being read."""
        for at_us, seq, entry in islice(index.ascending(group.bodies_scanned[number]), SCAN_AT_ONCE):
            if at_us > until_us + (ahead_us if entry.by_host_clock else 0):
                return
            group.bodies_scanned[number] = (at_us, seq)
            if entry.event.is_on_disk:
                self._soon.append(entry.event)

    async def _load_soon(self) -> None:
        while self._soon and self._commit.failure is None:
            await self.load([self._soon.popleft() for _ in range(min(READ_AT_ONCE, len(self._soon)))])

    async def load(self, events: Sequence[StoredEvent]) -> None:
        """Bring bodies back into memory, except of events that are gone.

        Raises:
            DispatcherNotWorking: they can't be read.
        """
        for event, body in zip(events, await self.read(events), strict=True):
            if event.is_on_disk and body is not None:
                event.content = body

    async def read(self, events: Sequence[StoredEvent]) -> list[bytes | None]:
        """The bodies; None for an event that was on the disk and is gone.

        Raises:
            DispatcherNotWorking: they can't be read.
        """
        found: dict[int, bytes] = {}
        for start in range(0, len(events), READ_AT_ONCE):
            on_disk = [event for event in events[start : start + READ_AT_ONCE] if event.is_on_disk]
            if on_disk:
                await self._read_some(on_disk, found)
        return [found.get(event.seq) if event.is_on_disk else event.body for event in events]

    async def _read_some(self, events: Sequence[StoredEvent], found: dict[int, bytes]) -> None:
        async with self._files:
            if self._is_stopped:
                raise DispatcherNotWorking("engine local is stopped")
            wanted: dict[int, dict[int, int]] = {}
            for event in events:
                segment = event.arrival.segment
                # While an event is held, the segment that it is in can't be removed.
                if event.holders and segment is not None and isinstance(event.content, int):
                    wanted.setdefault(segment.number, {})[event.seq] = event.content
            loop = asyncio.get_running_loop()
            try:
                for number, of_segment in wanted.items():
                    found |= await loop.run_in_executor(self._thread, self._read_segment, number, of_segment)
            except OSError as error:
                raise self._commit.fail(error, "read") from error

    def _read_segment(self, number: int, wanted: dict[int, int]) -> dict[int, bytes]:
        """The bodies by ``seq``. Runs in the thread.

        Raises:
            OSError: they can't be read, or are damaged.
        """
        path = self._directory.segment(number)
        places = [(location >> _OFFSET_SHIFT, location & SIZE_MASK) for location in wanted.values()]
        bodies = self._disk.read(path, places)
        for location, body in zip(wanted.values(), bodies, strict=True):
            if crc32(body) != location >> _CRC_SHIFT & 0xFFFFFFFF:
                raise OSError(errno.EIO, f"the body at offset {location >> _OFFSET_SHIFT} is damaged", str(path))
        return dict(zip(wanted, bodies, strict=True))
