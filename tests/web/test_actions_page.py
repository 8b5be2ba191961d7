"""What operators did, on the dashboard, and who may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from duebus import Client, NewEvent
from duebus.errors import DueBusError
from playwright.sync_api import expect
from support.browser import row, table
from support.builders import unique_name
from support.redis_engine import shared_redis
from support.secured import make_secured
from support.web import Web

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.browser import Visitor
    from support.server_process import ServerProcess

WEB = ("--web-listen", "127.0.0.1:0")

RULES = """
[[rule]]
identity = "ops"
verbs = ["admin", "dispatch"]
topics = ["*"]

[[rule]]
identity = "orders"
verbs = ["view"]
topics = ["order.*"]
"""


def seen(web: Web, token: str = "") -> list[dict[str, Any]]:
    """The actions that a caller sees."""
    answer = web.ask("GET", "/actions", headers={"Authorization": f"Bearer {token}"} if token else {})
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json
    return found


def once_there_are(count: int, web: Web, token: str = "") -> list[dict[str, Any]]:
    """What a caller sees once that many actions are kept, which happens behind the calls."""
    while len(found := seen(web, token)) < count:
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
    engine = ("--engine", "redis", "--redis-url", shared_redis().url, "--namespace", unique_name("bus"))
    one, other = (start_server(*WEB, *engine) for _ in range(2))
    with Client(one.address) as client:
        client.admin.configure_topic("order.created", max_retries=5)

    [action] = once_there_are(1, Web(other.web))
    assert (action["engine"], action["verb"], action["topic"]) == ("redis", "ConfigureTopic", "order.created")


def test_who_may_view_a_topic_sees_what_was_done_to_it(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    secured = make_secured(tmp_path, "ops", "orders")
    server = start_server(*WEB, *secured.token_flags(), *secured.acl_flags(RULES))
    web = Web(server.web)
    assert web.ask("GET", "/actions").status == 401
    with Client(server.address, token=secured.tokens["ops"]) as client:
        client.admin.configure_topic("order.created", max_retries=5)
        client.admin.configure_topic("payment.made", max_retries=5)
    with Client(server.address, token=secured.tokens["orders"]) as client, pytest.raises(DueBusError):
        client.admin.delete_topic("order.created")
    with Client(server.address, token="wrong") as client, pytest.raises(DueBusError):
        client.admin.delete_topic("order.created")

    refused, *done = once_there_are(3, web, secured.tokens["ops"])
    assert (refused["identity"], refused["verb"], refused["outcome"]) == ("orders", "DeleteTopic", "PERMISSION_DENIED")
    assert [(one["identity"], one["topic"]) for one in done] == [("ops", "payment.made"), ("ops", "order.created")]
    assert {one["topic"] for one in seen(web, secured.tokens["orders"])} == {"order.created"}


def test_a_call_that_names_an_engine_many_times_is_kept_once(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    """Otherwise one refused call could push a hundred others out of the list."""
    secured = make_secured(tmp_path, "ops", "orders")
    server = start_server(*WEB, *secured.token_flags(), *secured.acl_flags(RULES))
    ops, orders = (
        Web(server.web, headers={"Authorization": f"Bearer {secured.tokens[who]}"}) for who in ("ops", "orders")
    )
    assert orders.call("EventBus/Stop", engines=["ENGINE_LOCAL"] * 50).status == 403
    assert ops.call("EventBusAdmin/ConfigureTopic", topic="order.created", config={"maxQueued": "5"}).status == 200
    while "ConfigureTopic" not in (verbs := [one["verb"] for one in seen(ops)]):
        pass
    assert verbs.count("Stop") == 1
