"""Starting: one line once the server is ready, or one line why it can't start."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from support.start import CANNOT_SERVE, WRONG_SETTING, try_to_start
from support.wire import connect, ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess


async def test_it_prints_its_address_and_its_engines(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    host, port = server.address.rsplit(":", 1)
    assert (host, server.engines) == ("127.0.0.1", ["local"])
    assert int(port) > 0
    async with connect(server.address) as wire:
        assert await wire.topic_names() == []


async def test_a_port_in_use_is_one_line_and_the_first_server_keeps_running(server: ServerProcess, topic: str) -> None:
    status, out, err = try_to_start("--listen", server.address)
    assert (status, out) == (CANNOT_SERVE, "")
    assert err.startswith(f"duebus: can't listen on {server.address}: ")
    assert err.count("\n") == 1
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a")
        assert ids([await stream.one()]) == ["a"]


def test_a_port_of_another_program_is_in_use() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        status, out, err = try_to_start("--listen", address)
    assert (status, out, err.count("\n")) == (CANNOT_SERVE, "", 1)
    assert err.startswith(f"duebus: can't listen on {address}: ")


def test_an_address_of_another_machine_is_one_line() -> None:
    address = "203.0.113.9:50051"  # for documentation (RFC 5737): nobody has it
    status, out, err = try_to_start("--listen", address)
    assert (status, out, err.count("\n")) == (CANNOT_SERVE, "", 1)
    assert err.startswith(f"duebus: can't listen on {address}: ")


@pytest.mark.parametrize("module", ["tzdata.py", "tzdata/__init__.py"])
def test_a_server_without_time_zones_does_not_start(tmp_path: Path, module: str) -> None:
    """It started, and refused each schedule with an internal error."""
    shadow = tmp_path / module
    shadow.parent.mkdir(exist_ok=True)
    shadow.write_text("raise ImportError('it is not installed')" if module == "tzdata.py" else "")
    status, out, err = try_to_start("--processes", "1", PYTHONPATH=str(tmp_path))  # a process of its own
    assert (status, out, err.count("\n")) == (CANNOT_SERVE, "", 1)
    assert err.startswith("duebus: no time zones: the Python package tzdata can't be read: ")


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        (["--lease", "soon"], {}, "duebus: lease: 'soon' is not a duration"),
        ([], {"DUEBUS_MAX_QUEUED": "-1"}, "duebus: max_queued: "),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(
    flags: list[str], environment: dict[str, str], words: str
) -> None:
    status, out, err = try_to_start(*flags, **environment)
    assert (status, out, err.count("\n")) == (WRONG_SETTING, "", 1)
    assert err.startswith(words)


def test_a_wrong_line_in_the_file_stops_the_start_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "duebus.toml"
    file.write_text('lease = "30 s"\nleese = "5s"\n')
    status, out, err = try_to_start("--config", str(file))
    assert (status, out, err) == (WRONG_SETTING, "", "duebus: leese: no such setting\n")


async def test_settings_of_the_file_and_the_environment_apply(
    start_server: Callable[..., ServerProcess], tmp_path: Path, topic: str
) -> None:
    file = tmp_path / "duebus.toml"
    file.write_text('lease = "7s"\ndisconnect_grace = "250ms"\nmax_retries = 9\n')
    server = start_server("--config", str(file), "--max-retries", "1", env={"DUEBUS_LEASE": "8s"})
    async with connect(server.address) as wire:
        started = (await wire.subscribe(topic)).started
        assert (started.lease.seconds, started.disconnect_grace.nanos) == (8, 250_000_000)
        assert (await wire.topic(topic)).config.retry_policy.max_retries == 1
