"""A server with an HTTP port, for the tests that need no other settings, and clients of both its ports."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from duebus import Client
from support.server_process import ServerProcess, assert_untroubled
from support.web import Web

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB = ("--web-listen", "127.0.0.1:0")


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
