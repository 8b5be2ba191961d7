"""How much a server logs, and in which format."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest
from support.redis_server import free_port
from support.wire import SIGNAL_TIMEOUT_S, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess


async def switch_level(server: ServerProcess, times: int) -> None:
    """Send the signal, and wait until it has been handled for the ``times``-th time."""
    server.process.send_signal(signal.SIGUSR1)
    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        while server.log.read_text().count("log level changed") < times:  # noqa: ASYNC110  # a file can't signal
            await asyncio.sleep(0.01)


async def test_a_signal_turns_debug_lines_on_and_off(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    async with connect(server.address) as wire:
        await wire.dispatch("orders", "before")
        await switch_level(server, 1)
        await wire.dispatch("orders", "meanwhile")
        await switch_level(server, 2)
        await wire.dispatch("orders", "after")
    assert await asyncio.to_thread(server.terminate) == 0
    (line,) = [line for line in server.log.read_text().splitlines() if "call ended" in line]
    assert "method=/duebus.v1.EventBus/Dispatch" in line
    assert "code=OK" in line


@pytest.mark.parametrize(("level", "is_shown"), [("warning", True), ("error", False)])
def test_lines_below_the_level_are_left_out(
    start_server: Callable[..., ServerProcess], level: str, is_shown: bool
) -> None:
    log = start_server("--log-level", level).log.read_text()
    assert ("keeps events in memory" in log) == is_shown
    assert "info" not in log


async def test_failures_of_the_exporter_are_lines_in_the_chosen_format(
    start_server: Callable[..., ServerProcess],
) -> None:
    quick = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    server = start_server("--log-format", "json", env=quick | nobody)
    async with connect(server.address) as wire:
        await wire.dispatch("orders", "a")
    assert await asyncio.to_thread(server.terminate) == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    (failure,) = [
        line for line in lines if line.get("logger", "").startswith("opentelemetry") and line["level"] == "error"
    ]
    assert "export" in failure["event"]
