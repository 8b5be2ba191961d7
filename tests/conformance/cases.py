"""The list of cases, from cases.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from conformance.security import SECURED
from conformance.servers import ENGINES, ServerKind
from conformance.steps import Step, read_step
from conformance.stub_server import Answer
from conformance.values import CaseLoader

FILE = Path(__file__).with_name("cases.yaml")


@dataclass(frozen=True)
class Case:
    """A row of cases.yaml, which explains the fields."""

    section: str
    name: str
    steps: tuple[Step, ...]
    server: str = "shared"
    engines: tuple[str, ...] = ENGINES
    link: str = ""
    stub: Answer | None = None
    connect: bool = True

    @property
    def slug(self) -> str:
        """The name in the form of a test's id."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.name).split())


@dataclass(frozen=True)
class Suite:
    """All of cases.yaml."""

    servers: dict[str, ServerKind]
    cases: tuple[Case, ...]


@cache
def read_suite(file: Path = FILE) -> Suite:
    """Read the file, once, and check its form.

    Raises:
        ValueError: something in it is unknown, or two cases have the same name.
    """
    content = yaml.load(file.read_text(), CaseLoader)  # noqa: S506  # a safe loader with tags of its own
    servers = {name: ServerKind(**row) for name, row in content["servers"].items()}
    cases = tuple(_read_case(section, row) for section, rows in content["cases"].items() for row in rows)
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise ValueError(f"cases with the same name: {sorted({name for name in names if names.count(name) > 1})}")
    strange = {kind.secured for kind in servers.values()} - {"", *SECURED}
    if strange:
        raise ValueError(f"no such ways to secure a server: {sorted(strange)}")
    unknown = {case.server for case in cases} - servers.keys()
    if unknown:
        raise ValueError(f"no such servers: {sorted(unknown)}")
    return Suite(servers, cases)


def _read_case(section: str, row: dict[str, Any]) -> Case:
    try:
        steps = tuple(read_step(each) for each in row["steps"])
        fields = {**row, "steps": steps, "engines": tuple(row.get("engines", ENGINES))}
        if "stub" in row:
            ids = {name: frozenset(row["stub"].get(name, ())) for name in ("holds", "refuses")}
            fields["stub"] = Answer(**{**row["stub"], **ids})
        return Case(section, **fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"case {row.get('name')!r}: {error}") from error
