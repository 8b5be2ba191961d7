"""The chart's documents agree with the chart."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from support.chart import CHART, HELM, overlaid, render, render_case, values_of
from support.documents import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

KUBERNETES = ROOT / "docs" / "kubernetes.md"
README = CHART / "README.md"


def test_the_readme_matches_the_comments_of_the_values(tmp_path: Path) -> None:
    # given: a copy of the chart
    chart = tmp_path / "duebus"
    shutil.copytree(CHART, chart)

    # when
    helm_docs = HELM.parent / "helm-docs"
    subprocess.run([helm_docs, "--chart-search-root", tmp_path, "--sort-values-order", "file"], check=True, timeout=180)

    # then
    assert (chart / "README.md").read_text() == README.read_text(), "run `make helm-docs`"


def test_every_value_is_described() -> None:
    rows = [line.split(" | ") for line in README.read_text().splitlines() if re.match(r"\| [a-z]\w*[. ]", line)][1:]
    values = [row for row in rows if len(row) >= 4]
    assert len(values) > 100
    assert [row[0] for row in values if row[-1].strip(" |") == ""] == []


@pytest.mark.parametrize("shown", [text for text in blocks(KUBERNETES.read_text(), "yaml") if "triggers:" not in text])
def test_the_values_in_the_documents_render(shown: str) -> None:
    assert render(overlaid(values_of("redis"), yaml.safe_load(shown)))


def test_the_trigger_in_the_documents_is_the_one_that_the_chart_writes() -> None:
    (shown,) = (yaml.safe_load(text) for text in blocks(KUBERNETES.read_text(), "yaml") if "triggers:" in text)
    (written,) = (each["spec"]["triggers"] for each in render_case("keda") if each["kind"] == "ScaledObject")
    address = {"scalerAddress": "bus-duebus.bus.svc:50051"}
    assert shown["triggers"] == [{**written[0], "metadata": {**written[0]["metadata"], **address}}]


def test_the_ports_and_seconds_in_the_documents_are_those_of_the_chart() -> None:
    text = KUBERNETES.read_text()
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert f"`preStopSleepSeconds` ({defaults['preStopSleepSeconds']} s)" in text
    assert f"`drainTimeout` ({defaults['settings']['drainTimeout'].removesuffix('s')} s)" in text
