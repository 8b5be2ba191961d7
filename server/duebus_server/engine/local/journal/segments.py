"""The segments of a journal: how large each is, and how much of it is still needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.engine.local.records import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

SEGMENT_BYTES = 64 << 20
"""A segment is sealed before it grows past this. A larger record gets a segment of its own."""


class Segments:
    """All segments, oldest first. The last one grows.

    Args:
        known: the segments that a restart has found.
        segment_bytes: the size at which a segment is sealed.
    """

    def __init__(self, known: list[Segment], segment_bytes: int) -> None:
        self._all = known
        self._segment_bytes = segment_bytes

    @property
    def current(self) -> Segment:
        """The last segment, which grows."""
        return self._all[-1]

    @property
    def oldest(self) -> Segment:
        """The segment that is removed next."""
        return self._all[0]

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def add(self) -> Segment:
        """Add a segment, which becomes the current one."""
        self._all.append(Segment(self._all[-1].number + 1 if self._all else 1))
        return self._all[-1]

    def has_room(self, size: int) -> bool:
        """Whether a record of this size fits in the current one."""
        return self.current.size + size <= self._segment_bytes

    def remove_oldest(self) -> None:
        """Remove the oldest segment."""
        del self._all[0]

    def must_shrink(self) -> bool:
        """Whether the oldest segment has to be removed: nothing in it is needed, or all take up too much space.

        Once every segment has been copied, only what is needed is left, so removals come to an end. The half segment
        is for what is appended meanwhile: all stay within twice what is needed plus one segment.
        """
        if len(self._all) == 1:
            return False
        if not self.oldest.live and not self.oldest.kept:
            return True
        return self.total() > 2 * self.needed() + self._segment_bytes // 2

    def needed(self) -> int:
        """The bytes that are still needed."""
        return sum(segment.live + segment.kept for segment in self._all)

    def total(self) -> int:
        """The bytes of all segments."""
        return sum(segment.size for segment in self._all)
