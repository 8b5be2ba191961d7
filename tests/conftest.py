"""For all suites: helpers whose asserts explain themselves, how long Hypothesis searches, workers, Ctrl-C, servers."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ("support.parallel",)
pytest.register_assert_rewrite("support")

from support.server_process import ServerProcess, assert_untroubled  # noqa: E402  # its asserts are rewritten

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

# The same examples every time, so that a run's result depends on nothing but the code.
settings.register_profile("steady", derandomize=True, deadline=None, print_blob=True)
# Others every time, and many more: `HYPOTHESIS_PROFILE=chaos make test ARGS=tests/property`.
settings.register_profile(
    "chaos", max_examples=2_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_configure() -> None:
    """What starts the suite may ignore SIGINT, as a shell does in the background, but the tests' children must not.

    They would inherit that it is ignored, but not that a handler does nothing.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Without collections of garbage, which would take half the time: every worker makes all tests, and they stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers for the test: ``start_server("--lease", "1s")``. They end with the test."""
    started: list[ServerProcess] = []

    def start(*flags: str, **settings: object) -> ServerProcess:
        server = ServerProcess(tmp_path / f"server-{len(started)}.log", *flags, **settings)  # type: ignore[arg-type]
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
    for server in started:
        assert_untroubled(server.log.read_text())
