"""The chart's package. tests/helm tests that it renders the same as its folder."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest
from support.chart import BUILD_TIMEOUT_S, require_helm
from support.packing import pack_chart
from support.versions import version

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(BUILD_TIMEOUT_S + 60)
def test_the_package_has_what_an_installation_needs(dist: Path) -> None:
    require_helm()
    pack_chart(dist)
    with tarfile.open(dist / f"duebus-chart-{version()}.tgz") as package:
        names = {name.removeprefix("duebus/") for name in package.getnames()}
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "templates/deployment.yaml"} <= names
