"""Signing in to the page: with a JSON Web Token too, with long tokens, and what a viewer's answers leave out."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from duebus import NewEvent
from jwt.algorithms import ECAlgorithm
from playwright.sync_api import expect
from support.secured import make_secured, rule
from support.web import WEB, Guarded, Web

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.browser import Visitor
    from support.server_process import ServerProcess

PAGE = {"Duebus-Page": "1"}
LONGEST = 4_000
RULES = rule("ops", "admin", "dispatch") + rule("viewer", "view") + rule("reader", "view", "payload")


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
    page = visit(server.web, expects="status of 401").open("", ".login")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
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
    page = visit(server.web, expects="status of 40").open("", ".login")
    page.get_by_label("Token").fill("t" * length)
    page.get_by_role("button", name="Sign in").click()
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
