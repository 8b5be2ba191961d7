"""The host's clock beside the engine's: what ``deliver_at`` is judged by, and what fencing tokens begin with."""

from __future__ import annotations


class HostTime:
    """The host's clock as it was when the verb under way began. The verbs of an engine share one.

    Attributes:
        now_us: what it says.
        ahead_us: how far it is ahead of the engine's clock; 0 until somebody sets it.
    """

    __slots__ = ("_last_token", "ahead_us", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self.ahead_us = 0
        self._last_token = 0

    def read(self, engine_us: int, host_us: int) -> None:
        """Both clocks, just read, the engine's first."""
        self.now_us = host_us
        self.ahead_us = host_us - engine_us

    def fencing_tokens(self, count: int) -> range:
        """The tokens of ``count`` leases: each greater than all before it, and at least the time in microseconds. So
        they grow across deletions and restarts too, unless the clock is set back in between.
        """
        first = max(self._last_token + 1, self.now_us)
        self._last_token = first + count - 1
        return range(first, first + count)
