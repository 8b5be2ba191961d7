"""DueBus in FastAPI and Starlette: a client for as long as the application lives, and in small ones a worker too.

bus = DueBus("127.0.0.1:50051")
app = FastAPI(lifespan=bus.lifespan)

@app.post("/orders")
async def place(client: Annotated[Client, Depends(bus)]) -> None:
    await client.dispatch("order.placed", {"id": 42})
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from duebus._core.settings import DEFAULT_TARGET
from duebus.aio import Client
from duebus.integrations.outbox import Relay
from duebus.worker import Worker

__all__ = ["DueBus"]

_log = logging.getLogger("duebus.starlette")


class DueBus:
    """The client of an application, and what runs beside it. Called, it gives the client, so it is the dependency too.

    An application can have several, one for each server.

    Args:
        target: The server, as for `aio.Client`.
        worker: Runs in the application's event loop, and uses its client. It is drained when the application ends.
        relay: Sends what transactions have written into an outbox, in a thread.
        client_options: Further arguments of `aio.Client`.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        worker: Worker | None = None,
        relay: Relay | None = None,
        **client_options: Any,
    ) -> None:
        self._target = target
        self._worker = worker
        self._relay = relay
        self._options = client_options
        self._client: Client | None = None

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """For `FastAPI(lifespan=...)`, or to be entered in a lifespan of your own.

        Raises:
            DueBusError: the worker has ended with an error that no retry can cure. It is logged when it happens, and
                raised when the application ends. An end that is cancelled cancels the handlers, and releases their
                events.
        """
        async with AsyncExitStack() as stack:
            self._client = await stack.enter_async_context(Client(self._target, **self._options))
            if self._relay is not None:
                await _enter_in_thread(stack, self._relay)
            if self._worker is not None:
                await stack.enter_async_context(_running(self._worker, self._client))
            yield

    def __call__(self) -> Client:
        """The client.

        Raises:
            RuntimeError: the lifespan has not begun.
        """
        if self._client is None:
            raise RuntimeError("there is no client before the lifespan: FastAPI(lifespan=bus.lifespan)")
        return self._client


@asynccontextmanager
async def _running(worker: Worker, client: Client) -> AsyncIterator[None]:
    serving = asyncio.create_task(worker.serve(client))
    serving.add_done_callback(_report)
    await asyncio.sleep(0)  # from now on it can be stopped
    try:
        yield
    finally:
        worker.request_stop()
        await serving  # if this is cancelled, so is the worker


def _report(serving: asyncio.Task[None]) -> None:
    """Log the end of a worker when it happens: the application goes on without it."""
    if not serving.cancelled() and (error := serving.exception()) is not None:
        _log.error("the worker has ended: %s", error)


async def _enter_in_thread(stack: AsyncExitStack, relay: Relay) -> None:
    """Begin to relay. Its end, which waits for a dispatch under way, must not block the loop."""
    running = relay.running()
    running.__enter__()

    async def end() -> None:
        await asyncio.to_thread(running.__exit__, None, None, None)

    stack.push_async_callback(end)
