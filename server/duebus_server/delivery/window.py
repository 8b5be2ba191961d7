"""The leases that one stream holds, and how many it may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.model import LeasedEvent, LeaseRef, LeaseRequest, Refill

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_FRAME_BYTES = 3 << 20
"""By default, gRPC clients refuse messages over 4 MiB. The remainder is for what surrounds the events."""

MAX_FRAME_EVENTS = 500
"""Keeps a lease call short, and allows a large window to be filled while part of it is handled."""


class Window:
    """At most ``max_events`` leases and ``max_bytes`` of event bodies at once, one of them of a suspect.

    An event larger than ``max_bytes`` still fits, alone.

    Attributes:
        stalled: leases have run out, and nothing was settled or extended since. Then one event fits at a time.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.stalled = False
        self._bytes = 0
        self._held: dict[int, tuple[str, int]] = {}
        self._suspects: set[int] = set()

    def __len__(self) -> int:
        return len(self._held)

    def has_room(self) -> bool:
        """Whether anything more fits at all."""
        if not self._held:
            return True
        return not self.stalled and len(self._held) < self.max_events and self._bytes < self.max_bytes

    def has_suspect(self) -> bool:
        """Whether an event that it holds is a suspect."""
        return bool(self._suspects)

    def request(self, lease_us: int | None) -> LeaseRequest:
        """A lease of what fits into the window and into one frame."""
        return LeaseRequest(
            max_events=1 if self.stalled else min(self.max_events - len(self._held), MAX_FRAME_EVENTS),
            max_bytes=min(self.max_bytes - self._bytes, MAX_FRAME_BYTES),
            at_least_one=not self._held,
            lease_us=lease_us,
            with_suspect=not self._suspects,
            stalled=self.stalled,
        )

    def refill(self, settled: Sequence[LeaseRef], session_id: str, lease_us: int | None) -> Refill | None:
        """The room that its own ones among these leases leave once they are settled, up to one frame.

        Returns:
            The room; None if it does not hold the first of them, holds more than it may, or is ``stalled``.
        """
        spare_bytes = self.max_bytes - self._bytes
        if self.stalled or spare_bytes < 0 or len(self._held) > self.max_events or not self.holds(settled[0][1]):
            return None
        held = self._held
        sizes = {fence: held[fence][1] for _, fence in settled[:MAX_FRAME_EVENTS] if fence in held}
        frame_bytes = MAX_FRAME_BYTES - sum(sizes.values())
        if frame_bytes < 0:
            sizes, frame_bytes = _first_that_fit(sizes)
        return Refill(session_id, sizes, min(spare_bytes, frame_bytes), lease_us, self._suspects <= sizes.keys())

    def hold(self, fencing_token: int, event_id: str, size: int, *, is_suspect: bool = False) -> None:
        """Add a lease."""
        self._held[fencing_token] = (event_id, size)
        self._bytes += size
        if is_suspect:
            self._suspects.add(fencing_token)

    def hold_all(self, events: Sequence[LeasedEvent]) -> None:
        """Add the leases of these events."""
        self._held.update({event.fencing_token: (event.event_id, len(event.body)) for event in events})
        self._bytes += sum([len(event.body) for event in events])
        self._suspects.update([event.fencing_token for event in events if event.is_suspect])

    def drop(self, fencing_tokens: Iterable[int]) -> int:
        """Drop leases that have ended; unknown ones are ignored.

        Returns:
            How many were known.
        """
        take = self._held.pop
        dropped = [held for fencing_token in fencing_tokens if (held := take(fencing_token, None)) is not None]
        self._bytes -= sum([size for _, size in dropped])
        self._suspects.difference_update(fencing_tokens)
        return len(dropped)

    def holds(self, fencing_token: int) -> bool:
        """Whether it holds this lease."""
        return fencing_token in self._held

    def held(self) -> list[LeaseRef]:
        """The leases it holds."""
        return [LeaseRef(event_id, fencing_token) for fencing_token, (event_id, _) in self._held.items()]


def _first_that_fit(sizes: Mapping[int, int]) -> tuple[dict[int, int], int]:
    """Those of these sizes that fit into one frame, from the first on, and the bytes that are left of it."""
    fitting: dict[int, int] = {}
    left = MAX_FRAME_BYTES
    for fencing_token, size in sizes.items():
        if size <= left:
            fitting[fencing_token] = size
            left -= size
    return fitting, left
