"""An application's database with an outbox, on each kind of database, and a server to send to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from outbox.program import Shop
from support.databases import bus, run_mariadb, run_postgres, server  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mariadb_server import MariadbServer
    from support.postgres_server import PostgresServer


@pytest.fixture
def postgres_shop(postgres: PostgresServer) -> Iterator[Shop]:
    shop = Shop(postgres.new_database())
    shop.create_tables()
    yield shop
    shop.engine.dispose()


@pytest.fixture
def mariadb_shop(mariadb: MariadbServer) -> Iterator[Shop]:
    shop = Shop(mariadb.new_database())
    shop.create_tables()
    yield shop
    shop.engine.dispose()


@pytest.fixture
def sqlite_shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(f"sqlite:///{tmp_path}/shop.db")
    shop.create_tables()
    yield shop
    shop.engine.dispose()


@pytest.fixture(params=["postgres", "mariadb", "sqlite"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """The application, on every kind of database."""
    found: Shop = request.getfixturevalue(f"{request.param}_shop")
    return found


@pytest.fixture(params=["postgres", "mariadb"])
def shared_shop(request: pytest.FixtureRequest) -> Shop:
    """The application, on every kind of database that locks rows, so that several programs can write at once."""
    found: Shop = request.getfixturevalue(f"{request.param}_shop")
    return found
