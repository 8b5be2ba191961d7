"""Signing in to the page: with any token, for how long, and what each caller may see and do."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from duebus import NewEvent
from jwt.algorithms import ECAlgorithm
from playwright.sync_api import expect
from support.browser import at, row
from support.secured import make_secured, rule
from support.web import WEB, Guarded, Web

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page
    from support.browser import Visitor
    from support.server_process import ServerProcess

PAGE = {"Duebus-Page": "1"}
LONGEST = 4_000
RULES = rule("ops", "admin", "dispatch") + rule("viewer", "view") + rule("reader", "view", "payload")
BY_TOPIC = rule("ops", "admin", "dispatch", "subscribe") + rule("viewer", "view", topics="order.*")


def sign_in(visit: Callable[..., Visitor], server: ServerProcess, token: str, expects: str = "status of 401") -> Page:
    """The page after a token was typed."""
    page = visit(server.web, expects=expects).open("", ".login")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    return page


def test_a_json_web_token_signs_in_with_its_claims(
    start_server: Callable[..., ServerProcess], visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    keys = tmp_path / "keys.json"
    public = {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": "k"}
    keys.write_text(json.dumps({"keys": [public]}))
    secured = make_secured(tmp_path, "ops")
    server = start_server(*WEB, "--jwks", str(keys), "--jwt-audience", "duebus", *secured.acl_flags(RULES))
    claims = {"sub": "ops", "aud": "duebus", "exp": int(time.time()) + 600, "groups": ["x" * 100] * 20}
    token = jwt.encode(claims, key, "ES256", headers={"kid": "k"})
    page = sign_in(visit, server, token)
    expect(page.get_by_text("No topics yet")).to_be_visible()
    [cookie] = page.context.cookies()
    assert cookie["value"] == token, "so that it is not made longer"
    page.reload()
    expect(page.get_by_text("No topics yet")).to_be_visible()


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1])
def test_a_token_signs_in_or_is_too_long_for_a_cookie(
    start_server: Callable[..., ServerProcess], visit: Callable[..., Visitor], tmp_path: Path, length: int
) -> None:
    secured = make_secured(tmp_path, "ops")
    secured.tokens["ops"] = "t" * length
    secured.write_tokens("ops")
    server = start_server(*WEB, *secured.token_flags())
    page = sign_in(visit, server, "t" * length, expects="status of 40")
    if length > LONGEST:
        expect(page.get_by_role("alert")).to_contain_text("the token is too long for a cookie: at most 4,000 bytes")
    else:
        expect(page.get_by_text("No topics yet")).to_be_visible()


def test_a_token_with_any_characters_signs_in(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    secured = make_secured(tmp_path, "ops")
    secured.tokens["ops"] = 'a;b, c="d"%20+/\\' + "x" * 32
    secured.write_tokens("ops")
    web = Web(start_server(*WEB, *secured.token_flags()).web)
    answer = web.post("/session", secured.tokens["ops"], PAGE)
    assert answer.status == 200
    cookie = {"Cookie": answer.headers["Set-Cookie"].partition("; ")[0]}
    assert web.ask("GET", "/session", headers=cookie).json["identity"] == "ops"


def test_answers_withhold_the_data_of_events_from_a_viewer(guarded: Callable[..., Guarded]) -> None:
    bus = guarded("ops", "viewer", "reader", rules=RULES)
    with bus.client("ops") as client:
        client.dispatch_many("t", [NewEvent(data=b"secret", id="e")])
    for identity, sees in (("viewer", False), ("reader", True)):
        web = bus.web(identity)
        one = web.call("EventBusAdmin/GetEvent", topic="t", eventId="e").json["event"]
        [listed] = web.call("EventBusAdmin/ListEvents", topic="t", state="EVENT_STATE_READY").json["events"]
        for event in (one, listed):
            assert ("data" in event["event"], event.get("dataWithheld", False)) == (sees, not sees)


def test_a_viewer_sees_its_topics_without_their_data_and_can_not_act(
    guarded: Callable[..., Guarded], visit: Callable[..., Visitor]
) -> None:
    bus = guarded("ops", "viewer", rules=BY_TOPIC)
    with bus.client("ops") as client:
        client.dispatch_many("order.created", [NewEvent(data="secret", id="e")])
        client.dispatch("payment.made", 1)
    page = sign_in(visit, bus.server, bus.token("viewer"))
    expect(page.get_by_role("heading", name="1 topic")).to_be_visible()
    expect(row(page, "Topics", "order.created")).to_be_visible()
    page.goto(f"{bus.server.web}/{at('event', bus.server, topic='order.created', id='e')}")
    expect(page.get_by_text("You may not see the payload")).to_be_visible()
    expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
    assert "secret" not in page.content()
    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.context.cookies() == []
    page = sign_in(visit, bus.server, bus.token("ops"))
    expect(page.get_by_role("heading", name="2 topics")).to_be_visible()


def test_who_may_dispatch_to_its_topic_acts_on_a_schedule(
    guarded: Callable[..., Guarded], visit: Callable[..., Visitor]
) -> None:
    of_clerk = rule("clerk", "view", topics="order.*") + rule("clerk", "view", "dispatch", topics="report.*")
    bus = guarded("ops", "clerk", rules=BY_TOPIC + of_clerk)
    web = bus.web("ops")
    for name, topic in (("reminder", "order.due"), ("report", "report.due"), ("payday", "wages.due")):
        schedule = {"name": name, "topic": topic, "event": {}, "every": "3600s"}
        assert web.call("EventBusSchedules/PutSchedule", schedule=schedule).status == 200
    page = sign_in(visit, bus.server, bus.token("clerk"))
    page.get_by_role("link", name="Schedules").click()
    expect(row(page, "Schedules", "report").get_by_role("button", name="Trigger")).to_be_visible()
    expect(row(page, "Schedules", "reminder")).to_be_visible()
    expect(row(page, "Schedules", "reminder").get_by_role("button")).to_have_count(0)
    expect(row(page, "Schedules", "payday")).to_have_count(0)


def test_a_token_that_is_removed_ends_the_session(
    guarded: Callable[..., Guarded], visit: Callable[..., Visitor]
) -> None:
    bus = guarded("ops", "viewer")
    page = sign_in(visit, bus.server, bus.token("ops"))
    expect(page.get_by_text("No topics yet")).to_be_visible()
    bus.secured.write_tokens("viewer")
    with bus.client("viewer") as client:
        while page.get_by_label("Token").count() == 0:
            client.dispatch("order.created", 1)
            page.wait_for_timeout(200)


def test_the_cookie_alone_does_nothing(guarded: Callable[..., Guarded]) -> None:
    """What a page of another site could make the browser send, if it sent the cookie with it."""
    bus = guarded("ops")
    web, own = Web(bus.server.web), {"Duebus-Page": "1"}
    assert web.ask("GET", "/session").status == 401
    assert web.ask("GET", "/events").status == 401
    assert web.post("/session", bus.token("ops")).status == 403
    assert web.post("/session", "wrong", own).status == 401
    assert web.post("/session", b"\xff\x00", own).status == 401
    assert web.post("/session", "x" * 10_000, own).status == 400
    answer = web.post("/session", f"{bus.token('ops')}\n", own)
    assert answer.json == {"identity": "ops", "open": False, "may": ["view", "payload", "admin", "dispatch"]}
    given = answer.headers["Set-Cookie"]
    assert re.fullmatch(r"duebus_token=[\w%~.-]+; HttpOnly; Max-Age=3600; Path=/; SameSite=strict", given)
    cookie = {"Cookie": given.partition(";")[0]}
    list_topics = "/duebus.v1.EventBusAdmin/ListTopics"
    assert web.ask("POST", list_topics, {}, cookie).status == 401
    assert web.ask("POST", list_topics, {}, {**cookie, **own}).status == 200
    assert web.ask("GET", "/session", headers=cookie).status == 200
    assert web.ask("GET", "/session", headers={"Cookie": "duebus_token=%%%"}).status == 401
