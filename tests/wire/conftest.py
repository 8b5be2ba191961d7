"""Real servers for tests over a real socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers of the test's own: ``start_server("--lease", "1s")``. They end with the test."""
    started: list[ServerProcess] = []

    def start(*flags: str, **settings: object) -> ServerProcess:
        server = ServerProcess(tmp_path / f"server-{len(started)}.log", *flags, **settings)  # type: ignore[arg-type]
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server that tests share, each with topics of its own. Leave it running."""
    shared = ServerProcess(tmp_path_factory.mktemp("server") / "server.log")
    yield shared
    shared.close()
