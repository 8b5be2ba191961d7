"""Servers with an HTTP port, for the tests that need no other settings, clients of both their ports, and browsers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from duebus import Client
from support.browser import Visitor, chromium
from support.redis_engine import redis_flags
from support.secured import make_secured
from support.server_process import ServerProcess, assert_untroubled
from support.web import WEB, Guarded, Web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("web") / "server.log"
    server = ServerProcess(log, *WEB)
    yield server
    server.close()
    assert_untroubled(log.read_text())


@pytest.fixture
def web(server: ServerProcess) -> Iterator[Web]:
    web = Web(server.web)
    yield web
    web.connection.close()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture
def topic() -> str:
    return f"t-{uuid4().hex[:12]}"


@pytest.fixture(scope="module", params=["local", "redis"])
def each_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of each engine."""
    log = tmp_path_factory.mktemp("web") / "server.log"
    server = ServerProcess(log, *WEB, *(redis_flags() if request.param == "redis" else ()))
    yield server
    server.close()
    assert_untroubled(log.read_text())


@pytest.fixture
def guarded(start_server: Callable[..., ServerProcess], tmp_path: Path) -> Callable[..., Guarded]:
    """Starts a server that takes only these identities: ``guarded("ops", "viewer", rules=RULES)``."""

    def start(*identities: str, rules: str = "") -> Guarded:
        secured = make_secured(tmp_path, *identities)
        acl = secured.acl_flags(rules) if rules else ()
        return Guarded(start_server(*WEB, *secured.token_flags(), *acl), secured)

    return start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Opens browsers of their own: ``visit(server.web, color_scheme="dark")``."""
    opened: list[Visitor] = []

    def open_one(url: str, **settings: Any) -> Visitor:
        opened.append(Visitor(browser, url, **settings))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()
