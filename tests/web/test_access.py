"""Who may use the bus over HTTP: the tokens, rules and certificates are those of gRPC. Pages of other sites may not."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING

import pytest
from support.secured import make_secured, rule
from support.server_process import assert_untroubled
from support.tls import make_certificates
from support.web import JSON, WEB, Web, bearer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.secured import Secured
    from support.server_process import ServerProcess
    from support.tls import Certificates

DISPATCH = "/duebus.v1.EventBus/Dispatch"
RULES = rule("shop", "dispatch", topics="order.*")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Secured:
    return make_secured(tmp_path_factory.mktemp("secured"), "shop")


def test_without_a_token_nothing_is_done(start_server: Callable[..., ServerProcess], secured: Secured) -> None:
    web = Web(start_server(*WEB, *secured.token_flags()).web)
    for headers in ({}, bearer("wrong"), {"Authorization": "Basic x"}):
        answer = web.post(DISPATCH, {"topic": "t", "events": [{}]}, headers)
        assert answer.failure == (401, "unauthenticated", "UNAUTHENTICATED", "")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="duebus"'
    assert web.post("/v1/topics/t/events", b"x").status == 401
    assert web.post("/v1/topics/t/events", b"x", bearer(secured.tokens["shop"])).status == 202


def test_a_stranger_is_refused_before_its_body_is_read(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    web = Web(start_server(*WEB, *secured.token_flags()).web)
    web.connection.putrequest("POST", DISPATCH)
    for name, value in {**JSON, "Content-Length": "1000000"}.items():
        web.connection.putheader(name, value)
    web.connection.endheaders()  # the body never comes
    assert web.connection.getresponse().status == 401


def test_the_rules_hold(start_server: Callable[..., ServerProcess], secured: Secured, tmp_path: Path) -> None:
    audit = tmp_path / "audit.log"
    flags = (*WEB, *secured.token_flags(), *secured.acl_flags(RULES), "--audit-log", str(audit))
    web = Web(start_server(*flags).web, headers=bearer(secured.tokens["shop"]))
    assert web.post("/v1/topics/order.created/events", b"x").status == 202
    assert web.post("/v1/topics/invoice/events", b"x").failure[:3] == (403, "permission_denied", "PERMISSION_DENIED")
    assert web.call("EventBusAdmin/GetTopic", topic="order.created").status == 403
    assert web.call("EventBus/Stop").status == 403
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    recorded = [(line["identity"], line["verb"], line["topic"], line["outcome"]) for line in lines]
    assert recorded == [
        ("shop", "GetTopic", "order.created", "PERMISSION_DENIED"),
        ("shop", "Stop", "", "PERMISSION_DENIED"),
    ]
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in lines)


def trusting(certificates: Certificates, *, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    if mutual:
        context.load_cert_chain(certificates.client, certificates.client_key)
    return context


def test_it_has_the_tls_of_grpc(start_server: Callable[..., ServerProcess], secured: Secured) -> None:
    server = start_server(*WEB, *secured.tls_flags(), *secured.token_flags())
    url = server.web.replace("127.0.0.1", "localhost")
    assert url.startswith("https://")
    web = Web(url, trusting(secured.certificates), headers=bearer(secured.tokens["shop"]))
    assert web.post("/v1/topics/t/events", b"x").status == 202
    with pytest.raises(ssl.SSLError):
        Web(url, ssl.create_default_context()).post("/v1/topics/t/events", b"x")


def test_a_client_certificate_tells_who_calls(start_server: Callable[..., ServerProcess], secured: Secured) -> None:
    rules = RULES.replace('"shop"', '"client"')
    server = start_server(*WEB, *secured.tls_flags(mutual=True), *secured.acl_flags(rules))
    url = server.web.replace("127.0.0.1", "localhost")
    web = Web(url, trusting(secured.certificates, mutual=True))
    answer = web.post("/v1/topics/invoice/events", b"x")
    assert answer.failure[:2] == (403, "permission_denied")
    assert web.post("/v1/topics/order.created/events", b"x").status == 202, answer.json
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Web(url, trusting(secured.certificates)).post("/v1/topics/order.created/events", b"x")


def test_a_new_certificate_is_used_without_a_restart(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    secured = make_secured(tmp_path, "shop")
    server = start_server(*WEB, *secured.tls_flags())
    url = server.web.replace("127.0.0.1", "localhost")
    (tmp_path / "other").mkdir()
    other = make_certificates(tmp_path / "other")
    secured.certificates.server_key.write_bytes(other.server_key.read_bytes())
    secured.certificates.server.write_bytes(other.server.read_bytes())
    while True:  # the files are checked once a second
        try:
            assert Web(url, trusting(other)).post("/v1/topics/t/events", b"x").status == 202
        except ssl.SSLCertVerificationError:
            continue
        break
    assert_untroubled(server.log.read_text())


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]", ""])
def test_a_name_that_someone_points_at_this_machine_is_refused(web: Web, host: str) -> None:
    """DNS rebinding: a page of that name would be of the same origin as this server."""
    answer = web.post("/v1/topics/t/events", b"x", {"Host": host})
    assert answer.status in (400, 403)
    assert b"permission_denied" in answer.body or not host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080", "LOCALHOST", "[::1]:8080"])
def test_the_names_of_this_machine_are_accepted(web: Web, host: str) -> None:
    assert web.post("/v1/topics/t/events", b"x", {"Host": host}).status == 202


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://{host}", "http://localhost:1"])
def test_a_page_of_another_site_is_refused(web: Web, origin: str) -> None:
    host = f"{web.connection.host}:{web.connection.port}"
    answer = web.post("/v1/topics/t/events", b"x", {"Origin": origin.format(host=host)})
    assert answer.failure[:2] == (403, "permission_denied")
    assert web.post("/v1/topics/t/events", b"x", {"Origin": f"http://{host}"}).status == 202


def test_a_page_behind_a_proxy_that_ends_tls_is_accepted(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    web = Web(start_server(*WEB, *secured.token_flags()).web)
    page = {"Host": "bus.example", "Duebus-Page": "1"}
    answer = web.post("/session", secured.tokens["shop"], {**page, "Origin": "https://bus.example"})
    assert answer.status == 200
    assert "; Secure" in answer.headers["Set-Cookie"]
    for origin in ("https://evil.example", "https://bus.example:444", "null"):
        assert web.post("/session", secured.tokens["shop"], {**page, "Origin": origin}).status == 403


def test_calls_are_counted(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*WEB, "--http-listen", "127.0.0.1:0")
    Web(server.web).post("/v1/topics/t/events", b"x")
    Web(server.web).call("EventBus/Dispatch")
    metrics = Web("http://" + server.logged(r"http on .*address=(\S+)")).ask("GET", "/metrics").body.decode()
    for code in ("OK", "INVALID_ARGUMENT"):
        assert f'duebus_rpcs_total{{code="{code}",method="{DISPATCH[1:]}"}} 1.0' in metrics
