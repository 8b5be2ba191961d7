"""The workflows use what there is. `make check` runs actionlint and zizmor on them."""

from __future__ import annotations

import re
import tomllib
from fnmatch import filter as matching
from typing import Any

import pytest
import yaml
from support.documents import ROOT
from support.packing import CRATES, files

WORKFLOWS = {file.name: file.read_text() for file in sorted((ROOT / ".github" / "workflows").iterdir())}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
RELEASING = (ROOT / "RELEASING.md").read_text()


def workflow(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(WORKFLOWS[name])
    return loaded


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_makes_targets_that_exist(name: str) -> None:
    made = set(re.findall(r"\bmake ([a-z][a-z-]*)", WORKFLOWS[name]))
    assert made
    assert made <= TARGETS


def test_every_python_that_the_package_names_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert workflow("ci.yml")["jobs"]["python"]["strategy"]["matrix"]["python"] == named


def test_every_suite_is_run() -> None:
    run = set(re.findall(r"\btests/(\w+)", WORKFLOWS["ci.yml"]))
    by_target = {"conformance": "test-clients", "package": "release-dry-run", "helm": "helm-test"}
    run |= {suite for suite, target in by_target.items() if f"make {target}" in WORKFLOWS["ci.yml"]}
    assert run == {each.name for each in (ROOT / "tests").iterdir() if any(each.rglob("test_*.py"))}


def test_what_is_published_from_dist_is_part_of_a_release() -> None:
    named = set(re.findall(r"\bdist/(\S*[*.]\S+)", WORKFLOWS["release.yml"]))
    assert {each for each in named if not matching(files() | {"SHA256SUMS"}, each)} == set()
    assert {"*.whl", "*.tar.gz", "duebus-npm-*.tgz", "duebus-chart-*.tgz"} <= named


def test_every_crate_is_published() -> None:
    (publish,) = re.findall(r"\bcargo publish (.*)", WORKFLOWS["release.yml"])
    assert publish.split() == [word for each in CRATES for word in ("--package", each)]


def test_every_environment_of_the_release_is_explained() -> None:
    environments = {job["environment"] for job in workflow("release.yml")["jobs"].values() if "environment" in job}
    assert environments == set(re.findall(r"`(\w+)`", RELEASING.partition("The environments ")[2].partition(" of ")[0]))
