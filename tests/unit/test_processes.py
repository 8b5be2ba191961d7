"""The processes of one server: a signal reaches all of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from duebus_server import processes
from duebus_server.processes import Processes

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from multiprocessing.connection import Connection


def serves_until_stopped(ready: Connection, _parent: socket.socket) -> None:
    ready.send("ready")
    signal.pause()


def ends_when_its_log_level_is_switched(ready: Connection, _parent: socket.socket) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
    ready.send("ready")
    signal.pause()


@pytest.fixture
def signal_at_start(monkeypatch: pytest.MonkeyPatch) -> Callable[[signal.Signals], list[object]]:
    """Sends this process a signal whenever it has started one, before that one serves. Returns those it has started."""

    def send(number: signal.Signals) -> list[object]:
        started: list[object] = []
        kind = processes._CONTEXT.Process
        start = kind.start

        def start_and_send(self: object) -> None:
            start(self)  # type: ignore[arg-type]
            started.append(self)
            os.kill(os.getpid(), number)

        monkeypatch.setattr(kind, "start", start_and_send)
        return started

    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # for the processes, which import this module
    return send


def test_a_signal_while_a_process_is_being_started_stops_that_one_too(
    signal_at_start: Callable[[signal.Signals], list[object]],
) -> None:
    signal_at_start(signal.SIGTERM)
    assert asyncio.run(Processes(1, serves_until_stopped).run(lambda _line: None)) == 0


def test_a_switch_of_the_log_level_reaches_a_process_that_is_starting_once_it_serves(
    signal_at_start: Callable[[signal.Signals], list[object]],
) -> None:
    started = signal_at_start(signal.SIGUSR1)
    assert asyncio.run(Processes(1, ends_when_its_log_level_is_switched).run(lambda _line: None)) == 0
    assert len(started) == 1, "the signal did not end it before it served"
