"""Logs outages: operations that fail repeatedly."""

import logging
import time
from collections.abc import Callable

__all__ = ["Outage"]

# Seconds between the lines about one outage.
_INTERVAL = 60.0

_log = logging.getLogger("duebus.worker")


class Outage:
    """Logs an outage when it begins, once a minute while it lasts, and when it is over.

    Args:
        over: The text of the last line, before the length of the outage.
        log: Gets the lines.
    """

    def __init__(self, over: str, clock: Callable[[], float] = time.monotonic, *, log: logging.Logger = _log) -> None:
        self._over = over
        self._log = log
        self._clock = clock
        self._began: float | None = None
        self._said_at = 0.0

    def failed(self, message: str, *arguments: object) -> None:
        """Record a failure, the first or a later one."""
        now = self._clock()
        if self._began is None:
            self._began = now
        elif now < self._said_at + _INTERVAL:
            return
        self._said_at = now
        self._log.warning(message, *arguments)

    def ended(self) -> None:
        """It succeeded."""
        if self._began is not None:
            self._log.info("%s after %.1f s", self._over, self._clock() - self._began)
            self._began = None
