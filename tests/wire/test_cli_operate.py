"""The commands that change something, with a real server: their output matches what happened."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from duebus import Client
    from support.cli import Cli


def kill(client: Client, topic: str, errors: dict[str, str], group: str = "default") -> None:
    """Makes an event of each id a dead letter, with that last error."""
    with client.subscribe(topic, group=group) as subscription:
        for event_id in errors:
            client.dispatch(topic, {"id": event_id}, id=event_id)
        for _ in errors:
            delivery = next(subscription)
            client.nack(delivery, dead_letter=True, error=errors[delivery.event_id])


def in_state(client: Client, topic: str, state: str, group: str = "default") -> set[str]:
    return {event.event_id for event in client.admin.list_events(topic, state, group=group)}


def dead(cli: Cli, topic: str, *arguments: str) -> set[str]:
    return {record["event_id"] for record in cli.ok("dead", topic, "--json", *arguments).records}


ERRORS = {"a": "no such card", "b": "timeout", "c": "the card is blocked"}


# --- dead letters -----------------------------------------------------------------------------------------------------


def test_dead_letters_are_listed_with_their_errors(cli: Cli, client: Client, topic: str) -> None:
    kill(client, topic, ERRORS)

    out = cli.ok("dead", topic).out

    assert [line.split()[0] for line in out.splitlines()] == ["ID", "a", "b", "c"]
    assert re.search(r'ago +1 +{"id":"a"}  no such card$', out.splitlines()[1])  # the widths depend on the ages
    assert dead(cli, topic) == {"a", "b", "c"}
    assert dead(cli, topic, "--error", "card") == {"a", "c"}
    assert dead(cli, topic, "--id", "b") == {"b"}
    assert dead(cli, topic, "--id", "b", "--error", "card") == set()
    assert dead(cli, topic, "--min-age", "1h") == set()
    assert (
        cli.ok("dead", topic, "--error", "nothing like it").out == f"no such dead letters of {topic} in group default\n"
    )
    assert cli.ok("dead", topic, "--limit", "2").out.endswith("and more: --limit is 2\n")


def test_selected_dead_letters_are_redriven(cli: Cli, client: Client, topic: str) -> None:
    kill(client, topic, ERRORS)

    assert cli.ok("dead", topic, "--redrive", "--error", "card", "--yes").out == (
        f"redrove 2 dead letters of {topic} in group default\n"
    )

    assert (in_state(client, topic, "ready"), in_state(client, topic, "dead")) == ({"a", "c"}, {"b"})
    record = cli.ok("dead", topic, "--redrive", "--id", "b", "--json").record
    assert record == {"topic": topic, "group": "default", "redriven": 1}
    assert in_state(client, topic, "dead") == set()


def test_a_redrive_can_be_spread_over_time(cli: Cli, client: Client, topic: str) -> None:
    kill(client, topic, ERRORS)

    out = cli.ok("dead", topic, "--redrive", "--yes", "--rate", "0.01").out

    assert out == f"redrove 3 dead letters of {topic} in group default, 0.01 a second\n"
    assert (in_state(client, topic, "ready"), in_state(client, topic, "scheduled")) == ({"a"}, {"b", "c"})


def test_selected_dead_letters_are_purged(cli: Cli, client: Client, topic: str) -> None:
    kill(client, topic, ERRORS)

    record = cli.ok("dead", topic, "--purge", "--error", "timeout", "--yes", "--json").record
    assert record == {"topic": topic, "group": "default", "purged": 1}
    assert in_state(client, topic, "dead") == {"a", "c"}
    assert cli.ok("dead", topic, "--purge", "--yes").out == f"purged 2 dead letters of {topic} in group default\n"
    assert cli.run("event", topic, "a").status == 1


def test_nothing_is_purged_without_confirmation(cli: Cli, client: Client, topic: str) -> None:
    kill(client, topic, ERRORS)

    refused = cli.run("dead", topic, "--purge", "--error", "card")

    assert refused.status == 2
    assert refused.complaint == (
        f"would purge 2 dead letters of {topic} in group default; there is no terminal to ask on, so pass --yes; "
        "nothing was done"
    )
    assert in_state(client, topic, "dead") == {"a", "b", "c"}


def test_the_history_of_an_event_that_failed_three_times_and_was_redriven(cli: Cli, client: Client, topic: str) -> None:
    client.admin.configure_topic(topic, max_retries=2, backoff_initial=0.001, backoff_max=0.001)
    with client.subscribe(topic, group="mail"), client.subscribe(topic, group="billing", consumer="w-1") as billing:
        client.dispatch(topic, 1, id="o-42")
        for number in (1, 2, 3):
            client.nack(next(billing), error=f"refused {number}")
        cli.ok("dead", topic, "-g", "billing", "--redrive", "--id", "o-42")
        assert next(billing).attempt == 1

        out = cli.ok("event", topic, "o-42").out
        record = cli.ok("event", topic, "o-42", "--json").record

    shown = out.partition("in group billing: ")[2].partition("\nin group")[0]
    assert shown.startswith("leased to w-1 until ")
    assert "; 1 attempt since it was redriven, 2 retries allowed\nlast error: refused 3\n" in shown
    steps = (
        "dispatched",
        "attempt 1: failed, to be retried",
        "attempt 2: failed, to be retried",
        "attempt 3: failed, became a dead letter",
        "redriven, with all its retries",
        "attempt 1: under way",
        "the lease runs out, unless it is settled or extended",
    )
    rows = shown.partition("FROM")[2].splitlines()[1:]
    assert [next(step for step in steps if step in row) for row in rows if row] == list(steps)
    assert "in group mail: " in out
    (group,) = (each for each in record["groups"] if each["group"] == "billing")
    assert [each["redriven_at"] is not None for each in group["history"]] == [False, False, True, False]


# --- events that wait -------------------------------------------------------------------------------------------------


def test_events_are_cancelled_and_skipped_ones_are_named(cli: Cli, client: Client, topic: str) -> None:
    with client.subscribe(topic, max_in_flight=1) as subscription:
        client.dispatch(topic, 1, id="leased")
        next(subscription)
        client.dispatch(topic, 1, id="ready")
        client.dispatch(topic, 1, id="later", delay=3600)

        assert cli.ok("cancel", topic, "ready").out == f"cancelled 1 event of {topic}\n"
        result = cli.run("cancel", topic, "later", "leased", "gone", "--yes")

    assert (result.status, result.out) == (1, f"cancelled 1 event of {topic}\n")
    assert result.err == "duebus: skipped, because they are leased or dead: leased; not found: gone\n"
    assert in_state(client, topic, "scheduled") == set()


def test_several_events_are_not_cancelled_without_confirmation(cli: Cli, client: Client, topic: str) -> None:
    client.dispatch(topic, 1, id="a")
    assert cli.run("cancel", topic, "a", "b").status == 2
    assert cli.ok("events", topic, "--json").record["event_id"] == "a"


def test_events_are_rescheduled_all_or_none(cli: Cli, client: Client, topic: str) -> None:
    for event_id in ("a", "b"):
        client.dispatch(topic, 1, id=event_id, delay=3600)

    assert cli.ok("reschedule", topic, "a", "--delay", "0s").out == f"rescheduled 1 event of {topic}, due now\n"
    with client.subscribe(topic) as subscription:
        assert next(subscription).event_id == "a"
        refused = cli.run("reschedule", topic, "a", "b", "--at", "2030-01-01T00:00:00Z")
        assert "a" in refused.complaint

        record = cli.ok("reschedule", topic, "b", "--at", "2030-01-01T00:00:00Z", "--json").record
        assert record == {"topic": topic, "rescheduled": 1}
        moved = cli.ok("event", topic, "b", "--json").record
    assert moved["groups"][0]["deliver_at"] == "2030-01-01T00:00:00Z"


# --- topics and groups ------------------------------------------------------------------------------------------------


def test_without_a_group_the_only_one_is_used(cli: Cli, client: Client, topic: str) -> None:
    kill(client, topic, {"a": "no such card"}, group="billing")
    assert dead(cli, topic) == {"a"}
    assert cli.ok("pause", topic, "--json").record["group"] == "billing"
    assert cli.ok("resume", topic, "--json").record["group"] == "billing"

    with client.subscribe(topic, group="shipping") as subscription:
        subscription.started()
    for command in (["dead", topic], ["pause", topic], ["dead", topic, "--purge", "--yes"]):
        assert cli.run(*command).complaint == f"topic {topic} has no group default; choose one of: billing, shipping"


@pytest.mark.parametrize("action", ["--redrive", "--purge"])
def test_an_id_that_is_not_a_dead_letter_is_named_and_the_others_are_processed(
    cli: Cli, client: Client, topic: str, action: str
) -> None:
    kill(client, topic, {"a": "no such card"})
    client.dispatch(topic, 1, id="ready")

    result = cli.run("dead", topic, action, "--yes", "--id", "a", "--id", "gone", "--id", "ready")

    assert result.status == 1
    assert result.err == f"duebus: no dead letters of {topic} in group default: gone, ready\n"
    assert " 1 dead letter " in result.out
    assert in_state(client, topic, "dead") == set()


def test_a_group_is_paused_and_resumed(cli: Cli, client: Client, topic: str) -> None:
    with client.subscribe(topic) as subscription:
        assert cli.ok("pause", topic).out == (
            f"paused {topic} in group default; 'duebus resume {topic} default' ends it\n"
        )
        client.dispatch(topic, 1)
        (row,) = (record for record in cli.ok("topics", "--json").records if record["topic"] == topic)
        (group,) = row["groups"]
        assert "default (paused)" in cli.ok("topic", topic).out
        assert (group["group"], group["paused"], group["scheduled"], group["ready"]) == ("default", True, 0, 1)

        record = cli.ok("resume", topic, "default", "--json").record
        assert record == {"topic": topic, "group": "default", "paused": False}
        assert next(subscription).json() == 1


def settings(cli: Cli, *arguments: str) -> dict[str, str]:
    rows = (line.split(maxsplit=1) for line in cli.ok("config", *arguments).out.splitlines())
    found: dict[str, Any] = {name: value.strip() for name, value in rows}
    return found


def test_settings_are_shown_and_changed(cli: Cli, client: Client, topic: str) -> None:
    now = settings(cli, topic, "--max-retries", "7", "--backoff-max", "10m", "--max-queued", "0", "--lease", "45s")
    assert now == {
        "SETTING": "VALUE",
        "max-retries": "7",
        "backoff-initial": "500ms",
        "backoff-max": "10m",
        "lease": "45s",
        "max-queued": "unlimited",
        "dedupe-window": "10m",
        "dead-letter-retention": "until purged",
        "partitions": "1",
        "limits": "none",
        "keys": "max-in-flight=1",
    }
    assert settings(cli, topic) == now
    changed = cli.ok("config", topic, "--dead-letter-retention", "7d", "--dedupe-window", "0s", "--json").record
    assert (changed["dead_letter_retention_seconds"], changed["dedupe_window_seconds"]) == (604800, 0)


def test_a_group_has_its_own_retry_policy(cli: Cli, client: Client, topic: str) -> None:
    with client.subscribe(topic, group="mail"):
        own = {
            "SETTING": "VALUE",
            "max-retries": "9",
            "backoff-initial": "500ms",
            "backoff-max": "5m",
            "limits": "none",
            "keys": "max-in-flight=1",
        }
        assert settings(cli, topic, "--group", "mail", "--max-retries", "9") == own
        assert settings(cli, topic, "--group", "mail") == own
        assert settings(cli, topic)["max-retries"] == "3"
        assert "\nin group mail: 9 retries, backoff 500ms to 5m\n" in cli.ok("topic", topic).out


def test_a_group_and_a_topic_are_deleted(cli: Cli, client: Client, topic: str) -> None:
    kill(client, topic, ERRORS, "mail")
    client.dispatch(topic, 1)

    refused = cli.run("delete-group", topic, "mail")
    assert (refused.status, "with 1 event, 3 dead letters and 0 subscribers" in refused.complaint) == (2, True)
    assert cli.ok("delete-group", topic, "mail", "--yes").out == f"deleted group mail of {topic}, with 4 events\n"
    assert cli.run("delete-topic", topic).status == 2
    assert cli.ok("delete-topic", topic, "--yes", "--json").record["topic"] == topic
    assert topic in cli.run("topic", topic).complaint


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["dead", "TOPIC", "--redrive", "--yes"],
        ["dead", "TOPIC", "--purge", "--id", "x", "--yes"],
        ["dead", "TOPIC"],
        ["cancel", "TOPIC", "x"],
        ["reschedule", "TOPIC", "x", "--delay", "1s"],
        ["pause", "TOPIC"],
        ["resume", "TOPIC"],
        ["config", "TOPIC"],
        ["config", "TOPIC", "--group", "g", "--max-retries", "1"],
        ["delete-group", "TOPIC", "g", "--yes"],
        ["delete-topic", "TOPIC", "--yes"],
        ["delete-topic", "TOPIC"],
    ],
)
def test_an_unknown_topic_is_one_line(cli: Cli, topic: str, arguments: list[str]) -> None:
    result = cli.run(*(topic if each == "TOPIC" else each for each in arguments))
    assert result.status == 1
    assert topic in result.complaint


def test_an_unknown_group_is_one_line(cli: Cli, client: Client, topic: str) -> None:
    with client.subscribe(topic):
        pass
    for arguments in (
        ["dead", topic, "-g", "nobody", "--purge"],
        ["dead", topic, "-g", "nobody", "--redrive", "--yes"],
        ["cancel", topic, "x", "-g", "nobody"],
        ["pause", topic, "nobody"],
        ["config", topic, "-g", "nobody"],
        ["delete-group", topic, "nobody"],
    ):
        result = cli.run(*arguments)
        assert (result.status, "nobody" in result.complaint) == (1, True), result


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--backoff-max", "1ms"], "backoff_max: "),
        (["--lease", "1ms"], "lease: "),
        (["--max-retries", "2000000"], "max_retries: "),
        (["--dedupe-window", "8d"], "dedupe_window: "),
        (["--partitions", "2"], "partitions: "),
    ],
)
def test_a_setting_that_is_out_of_range_is_named_and_changes_nothing(
    cli: Cli, client: Client, topic: str, arguments: list[str], complaint: str
) -> None:
    client.dispatch(topic, 1)
    before = settings(cli, topic)

    assert cli.run("config", topic, *arguments).complaint.startswith(complaint)
    assert settings(cli, topic) == before
