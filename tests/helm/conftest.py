"""For the tests of the chart: helm is built, or there is a reason why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.chart import BUILD_TIMEOUT_S, require_helm

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test builds helm."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(BUILD_TIMEOUT_S + 60))


@pytest.fixture(autouse=True, scope="session")
def helm() -> None:
    require_helm()
