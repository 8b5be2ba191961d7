"""The Helm chart, rendered by the helm program."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support.documents import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CHART = ROOT / "helm" / "duebus"
HELM = ROOT / ".tools" / "bin" / "helm"
MATRIX = ROOT / "tests" / "helm" / "matrix.yaml"
KUBERNETES = ("1.34", "1.35", "1.36", "1.37")
"""The four newest minor versions. The rendered chart is validated against each."""

BUILD_TIMEOUT_S = 900
"""Helm is built once, with Go."""

RELEASE, NAMESPACE = "orders", "bus"

Values = dict[str, Any]
Object = dict[str, Any]


class RenderError(Exception):
    """Helm refuses the values; the text is Helm's."""


class _Loader(yaml.CSafeLoader):
    """Refuses duplicate keys, as kustomize and strict decoding in Kubernetes do."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"duplicate keys: {keys}"
        return super().construct_mapping(node, deep)


def require_helm() -> None:
    """Build helm if it is missing. Without Go the test is skipped; in CI that is a failure."""
    if shutil.which("go") or HELM.exists():
        built = subprocess.run(
            ["make", "helm-tools"], cwd=ROOT, text=True, capture_output=True, timeout=BUILD_TIMEOUT_S, check=False
        )
        assert built.returncode == 0, f"{built.stdout}{built.stderr}"
        return
    missing = "Go is missing: it builds helm, which the chart's tests need"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def run_helm(*arguments: str | Path, stdin: str = "") -> str:
    """The output of helm.

    Raises:
        RenderError: it fails.
    """
    ran = subprocess.run([HELM, *arguments], input=stdin, text=True, capture_output=True, timeout=180, check=False)
    if ran.returncode:
        raise RenderError(ran.stderr)
    return ran.stdout


def render_text(values: Values, kubernetes: str = KUBERNETES[-1], release: str = RELEASE, chart: Path = CHART) -> str:
    """The rendered chart.

    Raises:
        RenderError: the values are refused.
    """
    where = (release, chart, "--namespace", NAMESPACE, "--kube-version", kubernetes)
    return run_helm("template", *where, "--values", "-", stdin=json.dumps(values))


@cache
def rendered_case(case: str, kubernetes: str = KUBERNETES[-1]) -> str:
    """A case of the matrix as text; each is rendered once."""
    return render_text(values_of(case), kubernetes, matrix()[case].get("release", RELEASE))


def render_case(case: str) -> list[Object]:
    """The objects of a case of the matrix, for the newest Kubernetes."""
    return parse(rendered_case(case))


def render(values: Values, kubernetes: str = KUBERNETES[-1]) -> list[Object]:
    """The rendered objects.

    Raises:
        RenderError: the values are refused.
    """
    return parse(render_text(values, kubernetes))


def parse(text: str) -> list[Object]:
    """The objects of rendered text."""
    return [each for each in yaml.load_all(text, _Loader) if each]


def find(objects: list[Object], kind: str, suffix: str = "") -> Object:
    """The only object of a kind whose name has this suffix."""
    names = f"{RELEASE}-duebus{suffix}"
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == names]
    return found


@cache
def matrix() -> dict[str, Any]:
    """The cases by name, as written in the file."""
    loaded: dict[str, Any] = yaml.load(MATRIX.read_text(), _Loader)  # noqa: S506  # it is a safe one
    return loaded


def values_of(case: str) -> Values:
    """The values of a case, including those of its bases."""
    written = matrix()[case]
    base = values_of(written["base"]) if "base" in written else {}
    return overlaid(base, written["values"])


def compared_with(case: str) -> str:
    """The case that a snapshot is a diff against; "" when the snapshot is the whole rendering."""
    written = matrix()[case]
    return str(written.get("against") or written.get("base") or "")


def overlaid(base: Values, over: Values) -> Values:
    """Maps are merged and everything else is replaced, as in Helm."""
    merged = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlaid(merged[key], value) if both else value
    return merged
