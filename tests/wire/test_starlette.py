"""The lifespan and the dependency of FastAPI and Starlette applications."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from duebus import Worker, aio
from duebus.errors import NoDispatcherSpecified
from duebus.integrations.starlette import DueBus
from fastapi import Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from support.redis_server import free_port
from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from duebus import Delivery
    from support.server_process import ServerProcess


async def request(app: FastAPI, kind: str, path: str) -> list[dict[str, Any]]:
    """Make a request as an ASGI server does. Returns what the application has sent."""
    sent: list[dict[str, Any]] = []
    messages = iter([{"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request"}])

    async def receive() -> dict[str, Any]:
        return next(messages, {"type": f"{kind}.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": kind,
        "method": "GET",
        "path": path,
        "headers": [],
        "query_string": b"",
        "asgi": {"version": "3.0"},
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    return sent


async def test_requests_and_websockets_get_the_client(server: ServerProcess, topic: str) -> None:
    bus, clients = DueBus(server.address), list[aio.Client]()
    app = FastAPI()

    @app.get("/")
    async def get(client: aio.Client = Depends(bus)) -> None:  # noqa: B008 - as FastAPI has it
        clients.append(client)
        await client.dispatch(topic, 1)

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, client: aio.Client = Depends(bus)) -> None:  # noqa: B008 - likewise
        clients.append(client)
        await websocket.accept()

    async with bus.lifespan(app):
        assert (await request(app, "http", "/"))[0]["status"] == 200
        assert (await request(app, "websocket", "/socket"))[0]["type"] == "websocket.accept"
        assert clients == [bus()] * 2


async def test_an_application_with_two_servers_gets_the_client_of_each() -> None:
    here, there = DueBus(f"127.0.0.1:{free_port()}"), DueBus(f"127.0.0.1:{free_port()}")
    app = FastAPI()
    async with here.lifespan(app), there.lifespan(app):
        assert here() is not there()


async def test_an_application_that_is_mounted_gets_the_client(server: ServerProcess, topic: str) -> None:
    bus, app, mounted = DueBus(server.address), FastAPI(), FastAPI()
    app.mount("/mounted", mounted)

    @mounted.get("/")
    async def get(client: aio.Client = Depends(bus)) -> None:  # noqa: B008 - as FastAPI has it
        await client.dispatch(topic, 1)

    async with bus.lifespan(app):
        assert (await request(app, "http", "/mounted/"))[0]["status"] == 200


def test_without_a_lifespan_there_is_no_client() -> None:
    with pytest.raises(RuntimeError, match="there is no client before the lifespan"):
        DueBus()()


async def test_a_worker_runs_beside_the_application_and_is_drained_when_it_ends(
    server: ServerProcess, topic: str
) -> None:
    worker, begun, ended = Worker(), asyncio.Event(), asyncio.Event()

    @worker.on(topic)
    async def handle(_: Delivery) -> None:
        begun.set()
        await asyncio.sleep(0.2)
        ended.set()

    bus = DueBus(server.address, worker=worker)
    async with bus.lifespan(Starlette()):
        await bus().dispatch(topic, 1)
        await asyncio.wait_for(begun.wait(), SIGNAL_TIMEOUT_S)
    assert ended.is_set()
    async with aio.Client(server.address) as client:
        assert (await client.admin.get_topic(topic)).queued == 0


async def test_an_end_that_is_cancelled_cancels_the_worker_and_releases_its_events(
    server: ServerProcess, topic: str
) -> None:
    worker, dispatched, begun, cancelled = Worker(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    @worker.on(topic)
    async def handle(_: Delivery) -> None:
        begun.set()
        try:
            await asyncio.Future()
        finally:
            cancelled.set()

    async def live(bus: DueBus) -> None:
        async with bus.lifespan(Starlette()):
            await bus().dispatch(topic, 1, id="order-1")
            dispatched.set()
            await begun.wait()

    living = asyncio.create_task(live(DueBus(server.address, worker=worker)))
    for each in (begun, dispatched):  # the event may be handed over before its dispatch is answered
        await asyncio.wait_for(each.wait(), SIGNAL_TIMEOUT_S)
    await asyncio.sleep(0)  # now the lifespan is about to end
    living.cancel()
    with pytest.raises(asyncio.CancelledError):
        await living
    assert cancelled.is_set()
    async with aio.Client(server.address) as client:
        (copy,) = (await client.admin.get_event(topic, "order-1")).groups
    assert (copy.state, copy.attempts) == ("ready", 0)


async def test_a_lifespan_that_ends_at_once_ends_the_worker(topic: str) -> None:
    worker = Worker()
    worker.add(topic, lambda _: None)
    async with DueBus(f"127.0.0.1:{free_port()}", worker=worker).lifespan(Starlette()):
        pass  # the application does not wait for a server either


async def test_a_worker_that_fails_is_reported_at_once_and_raises_at_the_end(
    server: ServerProcess, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker, reported = Worker(engine="redis"), asyncio.Event()
    worker.add(topic, lambda _: None)

    class Reports(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            reported.set()

    handler = Reports()
    logging.getLogger("duebus.starlette").addHandler(handler)
    try:
        with pytest.raises(NoDispatcherSpecified):
            async with DueBus(server.address, worker=worker).lifespan(Starlette()):
                await asyncio.wait_for(reported.wait(), SIGNAL_TIMEOUT_S)
    finally:
        logging.getLogger("duebus.starlette").removeHandler(handler)
    assert "the worker has ended: " in caplog.text


async def test_it_can_be_part_of_another_lifespan(server: ServerProcess, topic: str) -> None:
    bus = DueBus(server.address)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        async with bus.lifespan(app):
            yield {"own": "state"}

    app = FastAPI(lifespan=lifespan)
    async with app.router.lifespan_context(app):
        assert (await bus().dispatch(topic, 1)).event_id
