"""Reports the handler that blocks the event loop."""

import asyncio
import functools
import inspect
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any

from duebus.worker.registry import Registration

__all__ = ["Watchdog"]

# How many seconds a loop has to turn after its process was suspended, which this thread can't notice.
_THAW = 0.1

_log = logging.getLogger("duebus.worker")


class Watchdog:
    """Checks from its own thread whether the loop still turns: a blocked loop can't report that itself.

    Args:
        limit: Seconds; a loop that is blocked for longer can't extend its leases in time.
        registrations: Returns the handlers that may block it.
    """

    def __init__(self, limit: float, registrations: Callable[[], Iterable[Registration]]) -> None:
        self._limit = limit
        self._registrations = registrations
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._turned = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="duebus-worker-watchdog", daemon=True).start()

    def close(self) -> None:
        """Stops the thread."""
        self._ended.set()
        self._turned.set()

    def _watch(self) -> None:
        while not self._ended.wait(self._limit / 3):
            self._turned.clear()
            began = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._turned.set)
            except RuntimeError:  # the loop is closed
                return
            if not self._turned.wait(self._limit) and not self._turned.wait(_THAW):
                self._report()
                self._turned.wait()
                if not self._ended.is_set():
                    _log.warning("the event loop is running again after %.1f s", time.monotonic() - began)

    def _report(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the only way to another thread's stack
        if frame is None:
            return
        _log.error(
            "%s has blocked the event loop for %.1f s, at %s line %d: no lease is extended meanwhile, and the events go"
            " to others. A handler that blocks should be a function without async: it is called on a thread",
            self._culprit(frame),
            self._limit,
            frame.f_code.co_filename,
            frame.f_lineno,
        )

    def _culprit(self, innermost: FrameType) -> str:
        """The handler in the stack, or the innermost call."""
        names = {code: each.name for each in self._registrations() if (code := _code_of(each)) is not None}
        frame: FrameType | None = innermost
        while frame is not None:
            if frame.f_code in names:
                return f"the handler {names[frame.f_code]}"
            frame = frame.f_back
        return innermost.f_code.co_qualname


def _code_of(registration: Registration) -> CodeType | None:
    """The code of a function without its decorators."""
    function: Any = registration.handler
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not hasattr(function, "__code__"):
        function = getattr(type(function), "__call__", None)  # noqa: B004 - an object that can be called
    return getattr(function, "__code__", None)
