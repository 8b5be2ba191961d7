"""Every client passes every case, on every engine that the case applies to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conformance.cases import read_suite
from conformance.languages import BUILD_TIMEOUT_S, read_languages
from conformance.runs import Run, Runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.drivers import Drivers
    from conformance.parity import Results
    from conformance.security import Security
    from conformance.servers import Servers

LANGUAGES = read_languages()
CASES = read_suite().cases

# The first test of a language builds its driver. The steps have deadlines of their own.
pytestmark = pytest.mark.timeout(BUILD_TIMEOUT_S + 120)

ALL = [
    pytest.param(language, Run(engine, case), id=f"{language}-{engine}-{case.slug}")
    for language in LANGUAGES
    for case in CASES
    for engine in case.engines
]


@pytest.fixture(scope="session")
def runs(drivers: Drivers, all_servers: dict[str, Servers], security: Security) -> Iterator[Runs]:
    """All of them."""
    made = Runs(drivers, all_servers, security)
    yield made
    made.close()


@pytest.mark.parametrize(("language", "run"), ALL)
def test_case(language: str, run: Run, runs: Runs, results: Results, request: pytest.FixtureRequest) -> None:
    spoken = LANGUAGES[language]
    if not runs.begun(spoken, run):
        runs.begin(spoken, selected(request.session, language))
    try:
        runs.outcome(spoken, run)
    except Exception:
        results.note(language, run.case.name, run.engine, passed=False)
        raise
    results.note(language, run.case.name, run.engine, passed=True)


def selected(session: pytest.Session, language: str) -> list[Run]:
    """The selected runs of a language, in the order of the cases."""
    tests = [item for item in session.items if isinstance(item, pytest.Function) and item.originalname == "test_case"]
    parameters: list[dict[str, Any]] = [dict(test.callspec.params) for test in tests]
    runs = [each["run"] for each in parameters if each["language"] == language]
    return sorted(runs, key=lambda run: CASES.index(run.case))
