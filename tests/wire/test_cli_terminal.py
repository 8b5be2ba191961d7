"""The command line on a terminal: it asks before it destroys, and shows a live table."""

from __future__ import annotations

from subprocess import Popen
from typing import TYPE_CHECKING

import pytest
from duebus import Client
from support.builders import unique_name
from support.cli import Cli
from support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess


@pytest.fixture
def topic(client: Client) -> str:
    """A topic with three dead letters."""
    name = unique_name()
    with client.subscribe(name) as subscription:
        client.dispatch_many(name, [1, 2, 3])
        for _ in range(3):
            client.nack(next(subscription), dead_letter=True, error="no such card")
    return name


def dead(client: Client, topic: str) -> int:
    (group,) = client.admin.get_topic(topic).groups
    return group.dead


# --- asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["y\n", "Yes\n"])
def test_a_confirmed_command_is_carried_out(server: ServerProcess, client: Client, topic: str, answer: str) -> None:
    with Terminal(server.address, "dead", topic, "--purge") as terminal:
        terminal.wait_for(f"purge 3 dead letters of {topic} in group default? [y/N] ")
        assert dead(client, topic) == 3
        terminal.type(answer)
        terminal.wait_for(f"purged 3 dead letters of {topic} in group default")
        assert terminal.end() == 0
    assert dead(client, topic) == 0


@pytest.mark.parametrize("answer", ["\n", "n\n", "what?\n", "\x04"])
def test_a_declined_command_does_nothing(server: ServerProcess, client: Client, topic: str, answer: str) -> None:
    with Terminal(server.address, "dead", topic, "--purge", "--error", "card") as terminal:
        terminal.wait_for("? [y/N] ")
        terminal.type(answer)
        terminal.wait_for("duebus: nothing was done")
        assert terminal.end() == 1
    assert dead(client, topic) == 3


def test_ctrl_c_declines(server: ServerProcess, client: Client, topic: str) -> None:
    with Terminal(server.address, "delete-topic", topic) as terminal:
        asked = terminal.wait_for("? [y/N] ")
        assert f"delete {topic}, with 1 group, 0 events, 3 dead letters and 0 subscribers" in asked
        terminal.interrupt()
        assert terminal.end() == 130
    assert "Traceback" not in terminal.seen
    assert dead(client, topic) == 3


def test_with_yes_nothing_is_asked(server: ServerProcess, client: Client, topic: str) -> None:
    with Terminal(server.address, "dead", topic, "--redrive", "--yes") as terminal:
        before = terminal.wait_for(f"redrove 3 dead letters of {topic}")
        assert terminal.end() == 0
    assert "[y/N]" not in before
    assert f"redriving {topic}" in before
    assert dead(client, topic) == 0


# --- tables -----------------------------------------------------------------------------------------------------------


def test_ids_can_be_copied_from_a_narrow_terminal(server: ServerProcess, client: Client, topic: str) -> None:
    ids = [event.event_id for event in client.admin.list_events(topic, "dead")]
    with Terminal(server.address, "dead", topic, columns=90) as terminal:
        assert terminal.end() == 0
    assert [event_id for event_id in ids if event_id in terminal.seen] == ids


def test_the_live_table_follows_the_bus_until_ctrl_c(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server()
    with Terminal(server.address, "topics", "--watch") as terminal, Client(server.address) as client:
        terminal.wait_for("0 topics")
        client.dispatch("orders", 1)
        terminal.wait_for("(no group yet)")
        with client.subscribe("orders", group="billing"):
            terminal.wait_for("billing")
        terminal.interrupt()
        assert terminal.end() == 0
    # The last table stays.
    assert "billing" in terminal.seen.rpartition("TOPIC")[2]
    assert "Traceback" not in terminal.seen


def test_the_live_table_waits_for_an_unreachable_server(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    with Terminal(server.address, "topics", "--watch") as terminal:
        terminal.wait_for("0 topics")
        server.kill()
        terminal.wait_for("no answer since then")
        start_server(listen=server.address)
        terminal.wait_for("0 topics  Ctrl-C ends")
        terminal.interrupt()
        assert terminal.end() == 0


def test_without_a_terminal_the_live_table_is_printed_once(server: ServerProcess, topic: str) -> None:
    cli = Cli(server.address)
    assert cli.ok("topics", "--watch").out.count("OLDEST READY") == 1
    assert topic in {record["topic"] for record in cli.ok("topics", "--watch", "--json").records}


# --- what others print ------------------------------------------------------------------------------------------------


def test_grpc_prints_nothing_unless_asked_to(server: ServerProcess) -> None:
    cli = Cli(server.address, popen=Popen)  # gRPC reads its log level when it is loaded
    assert cli.ok("topics").err == ""
    assert "channel" in cli.run("topics", GRPC_VERBOSITY="DEBUG", GRPC_TRACE="channel").err
    # gRPC logs ended connections at this level, which the command suppresses.
    assert "channel" not in cli.run("topics", GRPC_TRACE="channel").err
