"""A Django project on each kind of database, and a server to send to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connections
from support.databases import bus, run_mariadb, run_postgres, server  # noqa: F401 - fixtures
from support.django_project import set_up, use_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mariadb_server import MariadbServer
    from support.postgres_server import PostgresServer

set_up()


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
