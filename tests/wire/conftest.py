"""Real servers for tests over a real socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus import Client
from support.builders import unique_name
from support.cli import Cli
from support.server_process import ServerProcess, assert_untroubled
from support.wire import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from support.wire import Wire


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that all tests share, each with its own topics. Leave it running."""
    shared = ServerProcess(tmp_path_factory.mktemp("server") / "server.log")
    yield shared
    shared.close()


@pytest.fixture(autouse=True)
def untroubled(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test, the shared server is alive and has logged no unexpected error."""
    if "server" not in request.fixturenames:
        yield
        return
    shared: ServerProcess = request.getfixturevalue("server")
    before = shared.log.stat().st_size
    yield
    assert shared.process.poll() is None, "the server is gone"
    assert_untroubled(shared.log.read_bytes()[before:].decode())


@pytest.fixture
async def wire(server: ServerProcess) -> AsyncIterator[Wire]:
    """A client of the shared server, with its own connection."""
    async with connect(server.address) as connected:
        yield connected


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    """The Python client of the shared server."""
    with Client(server.address, timeout=10) as client:
        yield client


@pytest.fixture
def cli(server: ServerProcess) -> Cli:
    """The command line, for the shared server."""
    return Cli(server.address)


@pytest.fixture
def topic() -> str:
    """A topic that only this test uses."""
    return unique_name()
