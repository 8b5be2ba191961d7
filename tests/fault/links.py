"""The connections between servers and Redis, each through a proxy; the proxies run on a separate thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

TIMEOUT_S = 30


class Links:
    """A proxy to one target for each server. A context manager."""

    def __init__(self, target: str, count: int) -> None:
        self._proxies = [Proxy(target) for _ in range(count)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links")

    def __enter__(self) -> Self:
        self._thread.start()
        for proxy in self._proxies:
            self._run(proxy.start())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for proxy in self._proxies:
            self._run(proxy.close())
        self._run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_S)
        self._loop.close()

    def url(self, number: int) -> str:
        """The URL of Redis through one of them."""
        return f"redis://{self._proxies[number].address}/0"

    def cut(self, number: int) -> None:
        """Resets all connections."""
        self._do(self._proxies[number].cut)

    def stall(self, number: int) -> None:
        """Passes nothing on until `flow`."""
        self._do(self._proxies[number].stall)

    def flow(self, number: int) -> None:
        """Passes on again."""
        self._do(self._proxies[number].flow)

    def delay(self, number: int, delay_s: float) -> None:
        """Delays everything by this long."""
        self._do(lambda: setattr(self._proxies[number], "delay_s", delay_s))

    def _do(self, action: Callable[[], object]) -> None:
        async def act() -> None:
            action()

        self._run(act())

    def _run(self, coroutine: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(TIMEOUT_S)


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
