"""The driver of each language, the servers of each engine, and the results of the cases."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conformance.cases import read_suite
from conformance.drivers import Drivers
from conformance.languages import read_languages
from conformance.parity import Results
from conformance.security import Security
from conformance.servers import ENGINES, Servers
from support.redis_server import RedisServer
from support.server_process import assert_untroubled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LANGUAGES = read_languages()
SUITE = read_suite()
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A language's other tests run while its longest case, the first one, does. The test of its results comes last."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if item.path == HERE / "test_parity.py":
        return 2
    return 1 if item.path == HERE / "test_cases.py" and SUITE.cases[0].slug in item.name else 0


@pytest.fixture(scope="session")
def results() -> Results:
    return Results(LANGUAGES, SUITE.cases)


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drivers]:
    """The runs. A driver that does not end cleanly is an error."""
    made = Drivers(tmp_path_factory.mktemp("drivers"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[Callable[[], str]]:
    """Returns the URL of Redis; the first call starts it."""
    started: list[RedisServer] = []
    lock = threading.Lock()

    def url() -> str:
        if shutil.which("redis-server") is None and not os.environ.get("CI"):
            pytest.skip("redis-server is missing: 'make redis' installs it")
        with lock:
            if not started:
                started.append(RedisServer())
            return started[0].url

    yield url
    for redis in started:
        redis.close()


@pytest.fixture(scope="session")
def all_servers(
    tmp_path_factory: pytest.TempPathFactory, redis_url: Callable[[], str], security: Security
) -> Iterator[dict[str, Servers]]:
    """The servers by their default engine. An unexpected error in the log of one is an error."""
    folder = tmp_path_factory.mktemp("servers")
    made = {engine: Servers(engine, SUITE.servers, folder, redis_url, security) for engine in ENGINES}
    yield made
    for servers in made.values():
        servers.close()
    for log in folder.iterdir():
        assert_untroubled(log.read_text())


@pytest.fixture(scope="session")
def security(tmp_path_factory: pytest.TempPathFactory) -> Security:
    """Certificates and tokens of servers, links and clients."""
    return Security(tmp_path_factory.mktemp("security"))
