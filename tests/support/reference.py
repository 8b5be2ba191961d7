"""The generated tables of docs/reference: `make reference` writes them, and the tests compare them."""

from __future__ import annotations

import re
from typing import NamedTuple

from duebus import errors
from duebus_server.config import Settings, allowed, default

from support.documents import ROOT

REFERENCE = ROOT / "docs" / "reference"

_REASON = re.compile(r"((?:  //[^\n]*\n)+)  ERROR_REASON_(\w+) = [1-9]")
_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


class Reason(NamedTuple):
    """A reason of the contract, as described in proto/duebus/v1/error_details.proto."""

    name: str
    status: str
    when: str


def reasons() -> list[Reason]:
    """All reasons, in the order of the contract."""
    proto = (ROOT / "proto/duebus/v1/error_details.proto").read_text()
    found = []
    for comment, name in _REASON.findall(proto):
        status, _, when = " ".join(re.sub(r"//", "", comment).split()).partition(": ")
        found.append(Reason(name, status, f"{when[:1].upper()}{when[1:]}"))
    return found


def python_error(reason: str) -> type[errors.DueBusError]:
    """The exception that has this reason."""
    public = (getattr(errors, name) for name in errors.__all__)
    (found,) = (
        each
        for each in public
        if isinstance(each, type) and issubclass(each, errors.DueBusError) and each.reason == reason
    )
    return found


def settings_table() -> str:
    """The table of the server's settings."""
    rows = [
        [f"`--{name.replace('_', '-')}`", f"`DUEBUS_{name.upper()}`", _code(default(name)), _code(allowed(name)), said]
        for name, field in Settings.model_fields.items()
        if (said := field.description)
    ]
    return _table(["flag", "environment", "default", "allowed", "meaning"], rows)


def errors_table() -> str:
    """The table of the contract's errors."""
    rows = [[f"`{each.name}`", each.status, f"`{python_error(each.name).__name__}`", each.when] for each in reasons()]
    return _table(["reason", "gRPC status", "Python", "when"], rows)


def _table(heading: list[str], rows: list[list[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def _code(text: str) -> str:
    return " to ".join(f"`{each}`" for each in text.split(" to ")) if text else ""


PAGES = {REFERENCE / "settings.md": settings_table, REFERENCE / "errors.md": errors_table}
"""The first table of each page."""


def first_table(text: str) -> str:
    """The first table of a page."""
    found = _TABLE.search(text)
    assert found is not None
    return found[0]


def main() -> None:
    """Writes the tables."""
    for page, made in PAGES.items():
        text = page.read_text()
        page.write_text(text.replace(first_table(text), made()))


if __name__ == "__main__":
    main()
