"""The host's clock, which ``deliver_at`` and fencing tokens follow, beside the engine's own."""

from __future__ import annotations


class HostTime:
    """The host's clock as the current verb read it. The verbs of an engine share one.

    Attributes:
        now_us: its time.
        ahead_us: how far it is ahead of the engine's clock; 0 until it is set.
    """

    __slots__ = ("_last_token", "ahead_us", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self.ahead_us = 0
        self._last_token = 0

    def read(self, engine_us: int, host_us: int) -> None:
        """Read both clocks, the engine's first."""
        self.now_us = host_us
        self.ahead_us = host_us - engine_us

    def tokens_after(self, token: int) -> None:
        """Hand out only tokens that are greater than this one."""
        self._last_token = max(self._last_token, token)

    def fencing_tokens(self, count: int) -> range:
        """Tokens for ``count`` leases, each greater than all before it and at least the time in microseconds. So they
        also grow across deletions and restarts, unless the clock is set back in between.
        """
        first = max(self._last_token + 1, self.now_us)
        self._last_token = first + count - 1
        return range(first, first + count)
