"""`make run`, as newcomers and supervisors run it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.cli import Running, environment
from support.documents import README, ROOT, section, transcripts
from support.web import Web

if TYPE_CHECKING:
    from collections.abc import Iterator

HINT = re.compile(r"try, in a second shell: (.+)   and   (.+)")


@pytest.fixture
def running() -> Iterator[Running]:
    command, pipe = ["make", "run", "PORT=0", "WEB_PORT=0"], subprocess.PIPE
    made = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment(), cwd=ROOT)
    with Running(made) as each:
        yield each
        made.terminate()  # killing make would leave the server running
        each.result()


def next_line_like(running: Running, pattern: str) -> re.Match[str]:
    """The first line of its output that matches; an installation may print lines before it."""
    while line := running.line():
        if found := re.fullmatch(pattern, line):
            return found
    raise AssertionError(running.result())


def test_its_hints_work_on_its_port(running: Running) -> None:
    address = next_line_like(running, r"duebus ready on (\S+) engines=local web=\S+")[1]
    hint = next_line_like(running, HINT.pattern)

    assert all(address in command for command in hint.groups())
    sent = subprocess.run(hint[2], shell=True, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S602
    assert sent.stdout.startswith("dispatched "), sent


def test_its_hints_on_the_default_port_are_those_in_the_readme(running: Running) -> None:
    shown = transcripts(section(README, "60 seconds"))[0].printed[2]
    address = next_line_like(running, r"duebus ready on (\S+) engines=local web=\S+")[1]
    printed = next_line_like(running, HINT.pattern)[0]
    assert printed.replace(f" --server {address}", "") == shown


def test_it_names_the_dashboard(running: Running) -> None:
    url = next_line_like(running, r"the dashboard: (http://127\.0\.0\.1:\d+)")[1]
    assert Web(url).ask("GET", "/").body.startswith(b"<!doctype html>")


def test_ending_make_ends_the_server(running: Running) -> None:
    address = next_line_like(running, r"duebus ready on (\S+) engines=local web=\S+")[1]

    running.end(signal.SIGTERM)

    host, port = address.split(":")
    with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port))):
        pass
