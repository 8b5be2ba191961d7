"""What each option changes: a case's snapshot is the difference to its base, or all of it where there is no base."""

from __future__ import annotations

import difflib
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.chart import CHART, compared_with, matrix, render_text, rendered_case, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SNAPSHOTS = Path(__file__).parent / "snapshots"
RENEW = "HELM_SNAPSHOTS" in os.environ
"""Set by `make helm-snapshots`: snapshots are written and not compared."""


@pytest.mark.parametrize("case", matrix())
def test_a_case_renders_as_in_its_snapshot(case: str) -> None:
    base = compared_with(case)
    rendered = difference(rendering(base), rendering(case)) if base else rendering(case)
    snapshot = SNAPSHOTS / file_name(case)
    if RENEW:
        snapshot.write_text(rendered)

    assert snapshot.read_text() == rendered, f"see what has changed, then `make helm-snapshots` ({snapshot.name})"


@pytest.mark.parametrize("case", [case for case in matrix() if compared_with(case)])
def test_an_option_makes_a_difference_unless_it_must_not(case: str) -> None:
    unchanged = matrix()[case].get("unchanged", False)
    assert (rendering(case) == rendering(compared_with(case))) is unchanged


def test_every_snapshot_has_a_case() -> None:
    assert {each.name for each in SNAPSHOTS.iterdir()} == set(map(file_name, matrix()))


def test_every_value_of_the_chart_is_set_in_the_matrix() -> None:
    # given: all values of the chart, and those that a case changes
    defaults = dict(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))
    tried = {path for case in matrix() for path, value in leaves(values_of(case)) if defaults.get(path) != value}
    tried |= {path for case in matrix().values() if case.get("unchanged") for path, _ in leaves(case["values"])}

    # then: there is no other
    untried = {path for path in defaults if not any(is_within(path, each) or is_within(each, path) for each in tried)}
    assert untried == set()


def test_rendering_is_deterministic() -> None:
    assert render_text(values_of("secured")) == render_text(values_of("secured"))


def file_name(case: str) -> str:
    """The name of a case's snapshot."""
    return f"{case}.{'diff' if compared_with(case) else 'yaml'}"


def leaves(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The paths of all values that are not maps."""
    for key, value in values.items():
        path = f"{above}.{key}".lstrip(".")
        if isinstance(value, dict) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def is_within(path: str, other: str) -> bool:
    """Whether a path is the same as another one, or below it."""
    return f"{path}.".startswith(f"{other}.")


@cache
def rendering(case: str) -> str:
    """A case rendered, without what only follows from other lines or is a file of its own."""
    text = re.sub(r"(checksum/config: )\w+", r"\1...", rendered_case(case))
    return re.sub(r"(duebus\.json: \|\n)(    .*\n)+", r"\1    ...\n", text)


def difference(before: str, after: str) -> str:
    """What is different, object by object, each change under the name of its object."""
    old, new = by_object(before), by_object(after)
    parts = []
    for name in sorted(old.keys() | new.keys()):
        changed = list(difflib.unified_diff(old.get(name, []), new.get(name, []), n=1, lineterm=""))[2:]
        if changed:
            parts.append("\n".join([f"=== {name}", *(re.sub(r"^@@.*@@$", "@@", line) for line in changed)]))
    return "\n\n".join(parts) + "\n"


def by_object(text: str) -> dict[str, list[str]]:
    """The lines of each object, by its kind and what its name has beyond the release's full name."""
    found = {}
    full_name = re.findall(r"^  name: (.*)-headless$", text, re.MULTILINE)[0]
    for document in text.split("\n---\n"):
        kind, name = (re.search(rf"^{field}: (.*)$", document, re.MULTILINE) for field in ("kind", " *name"))
        if kind and name:
            key = f"{kind[1]} {name[1].removeprefix(full_name)}".strip()
            found[key] = document.removeprefix("---\n").splitlines()
    return found
