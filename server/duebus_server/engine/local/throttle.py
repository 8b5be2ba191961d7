"""What the limits of one group, and a pause, let it lease."""

from __future__ import annotations

from duebus_server.domain.rates import NO_LIMITS, NO_TAT, current


class Throttle:
    """Counts what a group leases against its limits.

    Attributes:
        limits: those in force.
        tat_us: the theoretical arrival time of its rate; see ``domain.rates``.
        paused_until_us: until when a nack has paused the group; 0 if none has.
    """

    __slots__ = ("limits", "paused_until_us", "tat_us")

    def __init__(self) -> None:
        self.limits = NO_LIMITS
        self.tat_us = NO_TAT
        self.paused_until_us = 0

    @property
    def is_idle(self) -> bool:
        """Whether there is neither a limit nor a pause."""
        return self.limits is NO_LIMITS and not self.paused_until_us

    def room(self, in_flight: int, now_us: int) -> int | None:
        """How many may be leased now, with this many leased already; None if that is unlimited."""
        if self.paused_until_us > now_us:
            return 0
        limits = self.limits
        rooms: list[int] = []
        if limits.max_in_flight:
            rooms.append(max(0, limits.max_in_flight - in_flight))
        if limits.rate is not None:
            rooms.append(limits.rate.allows(self.tat_us, now_us))
        return min(rooms, default=None)

    def begun(self, count: int, now_us: int) -> None:
        """This many were leased."""
        if self.limits.rate is not None:
            self.tat_us = self.limits.rate.begun(self.tat_us, now_us, count)

    def refund(self, now_us: int) -> None:
        """One that was leased is released."""
        if self.limits.rate is not None:
            self.tat_us = self.limits.rate.refunded(self.tat_us, now_us)

    def pause(self, until_us: int) -> None:
        """Lease nothing until then, or longer if it is paused for longer."""
        self.paused_until_us = max(self.paused_until_us, until_us)

    def is_full(self, in_flight: int) -> bool:
        """Whether nothing can be leased before a lease ends."""
        return 0 < self.limits.max_in_flight <= in_flight

    def opens_us(self, now_us: int) -> int:
        """When the rate and a pause let something be leased; ``now_us`` or earlier if they do now."""
        if 0 < self.paused_until_us <= now_us:
            self.paused_until_us = 0
        rate = self.limits.rate
        by_rate_us = 0 if rate is None or rate.allows(self.tat_us, now_us) else rate.opens_us(self.tat_us, now_us)
        return max(self.paused_until_us, by_rate_us)

    def work(self, ready: int, in_flight: int, now_us: int, ahead_us: int) -> int:
        """How many of the READY events may be leased within a time from now."""
        if self.limits.max_in_flight:
            ready = min(ready, max(0, self.limits.max_in_flight - in_flight))
        until_us, from_us = now_us + ahead_us, max(now_us, self.paused_until_us)
        if from_us >= until_us:
            return 0
        if self.limits.rate is not None:
            ready = min(ready, self.limits.rate.allows_until(self.tat_us, now_us, from_us, until_us))
        return ready

    def settings(self, now_us: int) -> tuple[int, int]:
        """``tat_us`` and ``paused_until_us``, or 0 for what has passed."""
        return current(self.tat_us, now_us), current(self.paused_until_us, now_us)
