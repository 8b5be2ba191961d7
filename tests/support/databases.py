"""Fixtures: the database servers of a suite, and a DueBus server with a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus import Client

from support.mariadb_server import MariadbServer
from support.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.server_process import ServerProcess


@pytest.fixture(scope="session", name="postgres")
def run_postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session", name="mariadb")
def run_mariadb() -> Iterator[MariadbServer]:
    server = MariadbServer()
    yield server
    server.close()


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server()


@pytest.fixture
def bus(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout=10) as client:
        yield client
