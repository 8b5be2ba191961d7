"""For the tests of the chart: there is helm, or there is a reason."""

from __future__ import annotations

import pytest
from support.chart import require_helm


@pytest.fixture(autouse=True, scope="session")
def helm() -> None:
    require_helm()
