"""SIGTERM and SIGINT while a worker runs."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["stop_on_signals"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals(first: Callable[[], None], second: Callable[[], None]) -> Iterator[None]:
    """Calls `first` in the loop on the first signal, and `second` on each later one.

    Only the main thread gets signals; in another one nothing is installed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    calls = iter((first,))

    def on_signal() -> None:
        next(calls, second)()

    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
