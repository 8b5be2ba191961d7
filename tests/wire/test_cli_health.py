"""`duebus health`, with a real server."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest
from duebus import Client, aio
from duebus.errors import NotFound
from support.cli import Cli
from support.wire import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess

SERVICES = ("", "duebus.v1.EventBus", "duebus.v1.EventBusAdmin")


@pytest.mark.parametrize("service", SERVICES)
def test_a_running_server_is_serving(server: ServerProcess, service: str) -> None:
    cli = Cli(server.address)
    flags = ("--service", service) if service else ()
    assert cli.ok("health", *flags).out == f"the server at {server.address} is serving\n"
    assert cli.ok("health", *flags, "--json").record == {"serving": True}


async def test_a_draining_server_is_not_serving(start_server: Callable[..., ServerProcess], topic: str) -> None:
    # given: a server that waits for a worker to settle
    server = start_server("--drain-timeout", "60s")
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a")
        held = await stream.one()

        # when
        server.process.send_signal(signal.SIGTERM)
        await stream.closing()

        # then
        refused = await asyncio.to_thread(Cli(server.address).run, "health")
        assert refused.status == 1
        assert refused.complaint == f"the server at {server.address} is not serving: it is draining"
        await wire.ack(held)


def test_an_unreachable_server_is_a_failure_at_once() -> None:
    refused = Cli("127.0.0.1:1").run("health")
    assert refused.status == 1
    assert "can't reach a server at 127.0.0.1:1" in refused.complaint


def test_an_unknown_service_is_named(server: ServerProcess) -> None:
    refused = Cli(server.address).run("health", "--service", "order.Service")
    assert refused.complaint == f"the server at {server.address} has no service 'order.Service'"


def test_both_clients_agree_on_the_health(server: ServerProcess) -> None:
    async def ask() -> bool:
        async with aio.Client(server.address) as client:
            return await client.is_serving()

    with Client(server.address) as client:
        assert client.is_serving() is asyncio.run(ask()) is True
        with pytest.raises(NotFound):
            client.is_serving("order.Service")
