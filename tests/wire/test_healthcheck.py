"""The image's health check, run as the image runs it, with a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.image import HEALTHCHECK
from support.secured import make_secured
from support.wire import connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess

HTTP = ("--http-listen", "127.0.0.1:0")


def check(listen: str) -> tuple[int, str, str]:
    """Its exit status and what it prints, with DUEBUS_HTTP_LISTEN."""
    assert HEALTHCHECK[0] == "python"
    done = subprocess.run(
        [sys.executable, *HEALTHCHECK[1:]],
        env={**os.environ, "DUEBUS_HTTP_LISTEN": listen},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    return done.returncode, done.stdout, done.stderr


def http_of(server: ServerProcess) -> str:
    """HOST:PORT of its HTTP port."""
    return server.logged(r"http on .*address=(\S+)")


def test_a_server_with_mutual_tls_and_tokens_is_healthy(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    secured = make_secured(tmp_path, "ops")
    server = start_server(*HTTP, *secured.tls_flags(mutual=True), *secured.token_flags())
    assert check(http_of(server)) == (0, "ok\n", "")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])  # noqa: S104  # in the test's process, for a moment
def test_a_server_that_listens_everywhere_is_asked_on_the_loopback(
    start_server: Callable[..., ServerProcess], host: str
) -> None:
    server = start_server("--http-listen", f"{host}:0")
    assert check(f"{host}:{http_of(server).rpartition(':')[2]}") == (0, "ok\n", "")


async def test_a_draining_server_is_not_healthy_and_the_check_says_why(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    # given: a server that waits for a worker to settle
    server = start_server("--drain-timeout", "60s", *HTTP)
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a")
        held = await stream.one()

        # when
        server.process.send_signal(signal.SIGTERM)
        await stream.closing()

        # then
        status, printed, _ = check(http_of(server))
        assert (status, "drain" in printed) == (1, True)
        await wire.ack(held)


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "", "nonsense"])
def test_without_an_answer_it_fails_with_one_line(listen: str) -> None:
    status, printed, said = check(listen)
    assert (status, printed) == (1, "")
    assert said.startswith(f"can't reach the server's HTTP port, DUEBUS_HTTP_LISTEN={listen}: ")
    assert said.count("\n") == 1


def test_it_takes_little_of_a_processor(start_server: Callable[..., ServerProcess]) -> None:
    # given: the time of processors that this process's children took until now
    address = http_of(start_server(*HTTP))
    before = os.times()

    # when
    checks = 5
    for _ in range(checks):
        assert check(address)[0] == 0

    # then: a tenth of what the command line takes, which imports gRPC
    after = os.times()
    taken = after.children_user - before.children_user + after.children_system - before.children_system
    assert taken / checks < 0.15
