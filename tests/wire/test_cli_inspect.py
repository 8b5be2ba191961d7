"""`duebus topics`, `topic`, `events` and `event`, with a real server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from duebus import Client
from support.builders import unique_name
from support.cli import Cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess


def cells(out: str, first: str) -> list[str]:
    """The columns of the line with this beginning."""
    (line,) = (line for line in out.splitlines() if line.startswith(first))
    return line.split()


def test_a_server_without_topics_is_reported(start_server: Callable[..., ServerProcess]) -> None:
    cli = Cli(start_server().address)
    assert cli.ok("topics").out == "there are no topics yet\n"
    assert cli.ok("topics", "--json").out == ""


def test_topics_show_what_waits_in_each_group(cli: Cli, client: Client, topic: str) -> None:
    with client.subscribe(topic, group="billing", max_in_flight=1), client.subscribe(topic, group="mail") as mail:
        client.dispatch_many(topic, [1, 2, 3])
        client.dispatch(topic, 4, delay=3600)
        for _ in range(3):
            client.nack(next(mail), dead_letter=True)

        out = cli.ok("topics").out

    billing, mailing = (line.split() for line in out.splitlines() if line.startswith(topic))
    assert billing[:7] == [topic, "billing", "1", "2", "1", "0", "1"]
    assert mailing[:7] == [topic, "mail", "1", "0", "0", "3", "1"]
    assert "\x1b" not in out  # plain in a pipe


def test_topics_in_json_output_are_one_line_each(cli: Cli, client: Client) -> None:
    names = {unique_name() for _ in range(3)}
    for name in names:
        client.dispatch(name, 1)

    found = {record["topic"]: record for record in cli.ok("topics", "--json").records}

    assert names <= set(found)
    assert {found[name]["queued"] for name in names} == {1}


def test_a_topic_shows_its_settings_groups_and_subscribers(cli: Cli, client: Client, topic: str) -> None:
    with client.subscribe(topic, group="billing", consumer="billing-7f9c"):
        out = cli.ok("topic", topic).out
        record = cli.ok("topic", topic, "--json").record

    assert out.startswith(f"{topic} on local: 0 queued\n3 retries, backoff 500ms to 5m, lease 30s, ")
    assert cells(out, "billing-7f9c")[1:3] == ["billing", "0"]
    assert record["config"]["lease_seconds"] == 30
    assert record["groups"][0]["subscribers"][0]["consumer"] == "billing-7f9c"


def test_events_are_listed_by_state(cli: Cli, client: Client, topic: str) -> None:
    with client.subscribe(topic, max_in_flight=1) as subscription:
        client.dispatch(topic, b"\xff", id="dead")
        client.nack(next(subscription), dead_letter=True, error="hope\nless")
        client.dispatch(topic, "leased", id="leased")
        next(subscription)
        client.dispatch(topic, "ready", id="ready")
        client.dispatch(topic, "later", id="scheduled", delay=3600)

        out = cli.ok("events", topic).out
        records = cli.ok("events", topic, "--json").records
        some = cli.ok("events", topic, "--state", "dead", "--state", "leased", "--json").records

    states = {record["groups"][0]["state"]: record["event_id"] for record in records}
    assert states == {"scheduled": "scheduled", "ready": "ready", "leased": "leased", "dead": "dead"}
    assert {record["event_id"] for record in some} == {"dead", "leased"}
    assert "hope\\nless" in next(line for line in out.splitlines() if line.startswith("dead"))
    assert "<1 bytes of " in out
    assert re.search(r" in (1h|59m) ", next(line for line in out.splitlines() if line.startswith("scheduled")))


def test_events_and_keys_are_those_of_the_topics_only_lasting_group(cli: Cli, client: Client, topic: str) -> None:
    client.dispatch(topic, 1, id="first", key="k")
    with client.subscribe(topic, ephemeral=True):
        assert [each["event_id"] for each in cli.ok("events", topic, "--json").records] == ["first"], "no group yet"
        with client.subscribe(topic, group="billing", max_in_flight=1):
            client.dispatch(topic, 2, id="second", key="k")
            groups = [each["groups"][0]["group"] for each in cli.ok("events", topic, "--json").records]
            assert groups == ["billing", "billing"]
            assert [each["key"] for each in cli.ok("keys", topic, "--json").records] == ["k"]
        with client.subscribe(topic, group="mail"):
            assert "choose one of: billing, mail" in cli.run("events", topic).complaint


def test_a_list_has_a_limit_and_an_order_and_reports_when_there_is_more(cli: Cli, client: Client, topic: str) -> None:
    for number in range(5):
        client.dispatch(topic, number, id=f"e{number}", delay=3600 + number)

    oldest = cli.ok("events", topic, "--limit", "2", "--json").records
    newest = cli.ok("events", topic, "--limit", "2", "--newest", "--json").records

    assert [each["event_id"] for each in oldest] == ["e0", "e1"]
    assert [each["event_id"] for each in newest] == ["e4", "e3"]
    assert cli.ok("events", topic, "--limit", "2").out.endswith("and more: --limit is 2\n")
    assert "and more" not in cli.ok("events", topic, "--limit", "5").out


def test_the_history_of_an_event_that_died(start_server: Callable[..., ServerProcess], topic: str) -> None:
    server = start_server("--backoff-initial", "1ms", "--backoff-max", "1ms")
    cli = Cli(server.address)
    with Client(server.address) as client, client.subscribe(topic, consumer="billing-1") as subscription:
        client.dispatch(topic, {"id": 42}, id="o-42", attributes={"tenant": "a"})
        for number in range(1, 5):
            client.nack(next(subscription), error=f"refused {number}")

    out = cli.ok("event", topic, "o-42").out
    record = cli.ok("event", topic, "o-42", "--json").record

    assert "o-42" in out
    assert '{"id":42}' in out
    assert "tenant=a" in out
    assert "dead since" in out
    assert "4 attempts, 3 retries allowed" in out
    assert "last error: refused 4\n" in out
    attempts = [line for line in out.splitlines() if "refused" in line and "billing-1" in line]
    for number, line in enumerate(attempts, 1):
        outcome = "failed, to be retried" if number < 4 else "failed, became a dead letter"
        assert f"attempt {number}: {outcome} billing-1 refused {number}" in " ".join(line.split())
    assert len(attempts) == 4

    (group,) = record["groups"]
    assert (record["data"], group["state"], group["last_error"]) == ({"id": 42}, "dead", "refused 4")
    assert [each["error"] for each in group["history"]] == [f"refused {number}" for number in range(1, 5)]


def test_the_history_of_an_event_that_waits_or_is_leased(cli: Cli, client: Client, topic: str) -> None:
    client.dispatch(topic, 1, id="later", delay=3600)
    assert "in group (no group yet): scheduled, due " in cli.ok("event", topic, "later").out

    with client.subscribe(topic, consumer="billing-1") as subscription:
        client.dispatch(topic, 1, id="now")
        next(subscription)
        assert "in group default: leased to billing-1 until " in cli.ok("event", topic, "now").out


def test_an_unknown_topic_or_event_is_one_line(cli: Cli, client: Client, topic: str) -> None:
    assert topic in cli.run("topic", topic).complaint
    assert topic in cli.run("events", topic).complaint
    client.dispatch(topic, 1)
    assert "nothing-like-it" in cli.run("event", topic, "nothing-like-it").complaint
    assert "no-such-group" in cli.run("events", topic, "--group", "no-such-group").complaint
