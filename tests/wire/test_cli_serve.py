"""`duebus serve` and `duebus stop`: a server from the command line."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from support.builders import unique_name
from support.cli import Cli

if TYPE_CHECKING:
    from pathlib import Path

    from support.cli import Running
    from support.server_process import ServerProcess

ANY_PORT = ("serve", "--listen", "127.0.0.1:0")


def address_of(serving: Running) -> str:
    """The address in its ready line."""
    ready = re.fullmatch(r"duebus ready on (127\.0\.0\.1:\d+) engines=local", serving.line())
    assert ready is not None
    return ready[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_and_a_signal_drains_it(number: int) -> None:
    with Cli().start(*ANY_PORT) as serving:
        cli = Cli(address_of(serving))
        cli.ok("dispatch", unique_name(), "1")

        ended = serving.end(number)

    assert (ended.status, ended.out) == (0, "")


def test_a_server_whose_log_is_closed_drains_too() -> None:
    with Cli().start(*ANY_PORT) as serving:
        address_of(serving)
        assert serving.process.stderr is not None
        serving.process.stderr.close()
        serving.process.terminate()
        assert serving.process.wait(30) == 0


def test_the_ready_line_may_be_json() -> None:
    with Cli().start(*ANY_PORT, "--json") as serving:
        ready = serving.record()
        assert ready["engines"] == ["local"]
        Cli(ready["ready"]).ok("topics")


def test_stop_drains_the_server_and_reports_what_was_left() -> None:
    topic = unique_name()
    with Cli().start(*ANY_PORT) as serving:
        cli = Cli(address_of(serving))
        cli.ok("dispatch", topic, "1", "--count", "3")
        with cli.start("subscribe", topic, "--group", "default", "--no-ack", "--count", "2", "--json") as holder:
            for _ in range(2):
                holder.line()

        stopped = cli.ok("--json", "stop", "--drain-timeout", "5s", "--yes").record

        assert serving.result().status == 0
    (engine,) = stopped["engines"]
    assert (engine["engine"], engine["queued"]) == ("local", 3)


def test_stop_asks_before_events_are_lost() -> None:
    topic = unique_name()
    with Cli().start(*ANY_PORT) as serving:
        cli = Cli(address_of(serving))
        cli.ok("dispatch", topic, "1", "--count", "3")

        refused = cli.run("stop")

        assert refused.status == 2
        assert (
            "and lose 3 events of the local engine; there is no terminal to ask on, so pass --yes" in refused.complaint
        )
        assert cli.ok("topics").out
        cli.ok("delete-topic", topic, "--yes")
        cli.ok("stop")
        assert serving.result().status == 0


def test_stop_does_not_ask_where_events_are_on_the_disk(tmp_path: Path) -> None:
    with Cli().start(*ANY_PORT, "--data-dir", str(tmp_path)) as serving:
        cli = Cli(address_of(serving))
        cli.ok("dispatch", unique_name(), "1", "--count", "3")
        assert cli.ok("stop").out == "stopped local: 0 unsettled released, 3 queued stay in it\n"
        assert serving.result().status == 0


def test_flags_override_the_environment_which_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "duebus.toml"
    file.write_text('max_retries = 5\nlease = "5s"\nbackoff_initial = "5ms"\n')
    topic = unique_name()
    environment = {"DUEBUS_CONFIG": str(file), "DUEBUS_LEASE": "6s", "DUEBUS_BACKOFF_INITIAL": "6ms"}
    with Cli().start(*ANY_PORT, "--backoff-initial", "7ms", **environment) as serving:
        cli = Cli(address_of(serving))
        cli.ok("dispatch", topic, "1")
        config = cli.ok("topic", topic, "--json").record["config"]

    assert config["retry_policy"]["max_retries"] == 5
    assert config["lease_seconds"] == 6
    assert config["retry_policy"]["backoff_initial_seconds"] == 0.007


@pytest.mark.parametrize(
    ("flags", "setting"),
    [
        (["--lease", "1ms"], "'--lease': must be from 100ms to 12h"),
        (["--backoff-initial", "10m"], "backoff_max: must not be less than backoff_initial"),
        (["--listen", "nowhere"], "'--listen': 'nowhere' is not HOST:PORT"),
        (["--config", "nowhere.toml"], "'--config': no such file: nowhere.toml"),
        (["--namespace", "a b"], "'--namespace': "),
        (["--engine", "local", "--engine", "local"], "'--engine': "),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(flags: list[str], setting: str) -> None:
    assert setting in Cli().run(*ANY_PORT, *flags).complaint


def test_a_wrong_setting_of_the_environment_is_named() -> None:
    assert "lease: 'soon'" in Cli().run(*ANY_PORT, DUEBUS_LEASE="soon").complaint


def test_a_port_in_use_is_named(server: ServerProcess) -> None:
    assert f"can't listen on {server.address}: is another" in Cli().run("serve", "--listen", server.address).complaint


def test_an_address_of_another_machine_is_named() -> None:
    refused = Cli().run("serve", "--listen", "192.0.2.1:5").complaint
    assert refused == "can't listen on 192.0.2.1:5: cannot assign requested address"
