"""A Django project on each kind of database, and a server to send to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connections
from duebus import Client
from support.django_project import set_up, use_database
from support.mariadb_server import MariadbServer
from support.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.server_process import ServerProcess

set_up()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    server = MariadbServer()
    yield server
    server.close()


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[str]:
    url = postgres.new_database()
    use_database(url)
    yield url
    connections.close_all()


@pytest.fixture
def mariadb_database(mariadb: MariadbServer) -> Iterator[str]:
    url = mariadb.new_database().replace("mariadb+", "mysql+")  # as many write it, for SQLAlchemy
    use_database(url)
    yield url
    connections.close_all()


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path}/project.db"
    use_database(url)
    yield url
    connections.close_all()


@pytest.fixture(params=["postgres", "mariadb", "sqlite"])
def database(request: pytest.FixtureRequest) -> str:
    """The project's database, of every kind: its URL."""
    url: str = request.getfixturevalue(f"{request.param}_database")
    return url


@pytest.fixture(params=["postgres", "mariadb"])
def shared_database(request: pytest.FixtureRequest) -> str:
    """The project's database, of every kind that locks rows, so that several programs can write at once."""
    url: str = request.getfixturevalue(f"{request.param}_database")
    return url


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server()


@pytest.fixture
def bus(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout=10) as client:
        yield client
