"""What operators did, on the dashboard, and who may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from duebus import Client, NewEvent
from duebus.errors import DueBusError
from playwright.sync_api import expect
from support.browser import row, table
from support.builders import unique_name
from support.redis_engine import redis_flags
from support.secured import rule
from support.web import WEB, Guarded, Web

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.browser import Visitor
    from support.server_process import ServerProcess

RULES = rule("ops", "admin", "dispatch") + rule("orders", "view", topics="order.*")


def seen(web: Web) -> list[dict[str, Any]]:
    """The actions that a caller sees."""
    answer = web.ask("GET", "/actions")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json
    return found


def once_there_are(count: int, web: Web) -> list[dict[str, Any]]:
    """What a caller sees once that many actions are kept, which happens behind the calls."""
    while len(found := seen(web)) < count:
        pass
    return found


def test_what_is_done_is_shown_with_who_and_on_what(each_engine: ServerProcess, visit: Callable[..., Visitor]) -> None:
    topic = unique_name()
    with Client(each_engine.address) as client:
        client.dispatch_many(topic, [NewEvent(data="a secret", id="first", delay=600)])
        with client.subscribe(topic, group="g"):
            pass
        client.admin.pause_group(topic, "g")
        client.admin.cancel(topic, "first")
        with pytest.raises(DueBusError):
            client.admin.pause_group(topic, "nobody")
        client.admin.get_topic(topic)
        page = visit(each_engine.web).open(f"#/actions?text={topic}", "table")
        rows = table(page, "Actions").get_by_role("row")
        expect(rows).to_have_count(4)
        expect(rows.nth(1)).to_contain_text(f"Pause group{topic}/nobodyNot found")
        expect(rows.nth(2)).to_contain_text(f"Cancel events{topic}event firstdone")
        expect(rows.nth(3)).to_contain_text(f"anyonePause group{topic}/gdone")
        assert "secret" not in page.content()
        page.get_by_label("Filter").fill("nobody")
        expect(rows).to_have_count(2)
        client.admin.delete_topic(topic)
        page.get_by_label("Filter").fill(topic)
        expect(row(page, "Actions", "Delete topic")).to_be_visible()


def test_what_one_server_did_is_shown_by_the_others(start_server: Callable[..., ServerProcess]) -> None:
    engine = redis_flags()
    one, other = (start_server(*WEB, *engine) for _ in range(2))
    with Client(one.address) as client:
        client.admin.configure_topic("order.created", max_retries=5)

    [action] = once_there_are(1, Web(other.web))
    assert (action["engine"], action["verb"], action["topic"]) == ("redis", "ConfigureTopic", "order.created")


def test_who_may_view_a_topic_sees_what_was_done_to_it(guarded: Callable[..., Guarded]) -> None:
    bus = guarded("ops", "orders", rules=RULES)
    assert Web(bus.server.web).ask("GET", "/actions").status == 401
    with bus.client("ops") as client:
        client.admin.configure_topic("order.created", max_retries=5)
        client.admin.configure_topic("payment.made", max_retries=5)
    with bus.client("orders") as client, pytest.raises(DueBusError):
        client.admin.delete_topic("order.created")
    with Client(bus.server.address, token="wrong") as client, pytest.raises(DueBusError):
        client.admin.delete_topic("order.created")

    refused, *done = once_there_are(3, bus.web("ops"))
    assert (refused["identity"], refused["verb"], refused["outcome"]) == ("orders", "DeleteTopic", "PERMISSION_DENIED")
    assert [(one["identity"], one["topic"]) for one in done] == [("ops", "payment.made"), ("ops", "order.created")]
    assert {one["topic"] for one in seen(bus.web("orders"))} == {"order.created"}


def test_a_call_that_names_an_engine_many_times_is_kept_once(guarded: Callable[..., Guarded]) -> None:
    """Otherwise one refused call could push a hundred others out of the list."""
    bus = guarded("ops", "orders", rules=RULES)
    ops, orders = bus.web("ops"), bus.web("orders")
    assert orders.call("EventBus/Stop", engines=["ENGINE_LOCAL"] * 50).status == 403
    assert ops.call("EventBusAdmin/ConfigureTopic", topic="order.created", config={"maxQueued": "5"}).status == 200
    while "ConfigureTopic" not in (verbs := [one["verb"] for one in seen(ops)]):
        pass
    assert verbs.count("Stop") == 1
