"""What is generated in docs/reference: `make reference` writes it, and the tests compare it."""

from __future__ import annotations

import json
import re
from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from duebus import errors
from duebus_server.config import Settings, allowed, default

from support.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REFERENCE = ROOT / "docs" / "reference"
EXAMPLE = REFERENCE / "duebus.example.toml"

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


def example_file() -> str:
    """The example of a configuration file: every setting with its meaning and default, commented out."""
    heading = (
        "The settings of `duebus serve`, each with its default. Copy this file, remove the # in front of what you "
        "change,\nand name it with --config. `make reference` makes it from server/duebus_server/config.py."
    )
    named = {name: field for name, field in Settings.model_fields.items() if name != "config"}
    settings = [f"{_comment(field.description or '')}\n#{name} = {_toml(name)}" for name, field in named.items()]
    return "\n\n".join([_comment(heading), *settings]) + "\n"


def _comment(text: str) -> str:
    """Lines of at most 120 characters; the line breaks of the text stay."""
    return "\n".join(line for part in text.splitlines() for line in wrap(f"# {part}", 120, subsequent_indent="# "))


def _toml(name: str) -> str:
    """The default of a setting in TOML, or an empty text if it has none, and behind it what else is allowed."""
    value, said = Settings.model_fields[name].default, default(name)
    if value is None:
        return f'"" # {allowed(name)}; not set by default'
    if isinstance(value, tuple):
        return f"{json.dumps(value)} # {allowed(name)}"
    return f"{said if said.isdigit() else json.dumps(said)} # {allowed(name)}"


def _table(heading: list[str], rows: list[list[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def _code(text: str) -> str:
    return " to ".join(f"`{each}`" for each in text.split(" to ")) if text else ""


def first_table(text: str) -> str:
    """The first table of a page."""
    found = _TABLE.search(text)
    assert found is not None
    return found[0]


def _page(page: Path, table: Callable[[], str]) -> str:
    """A page with its first table made anew."""
    text = page.read_text()
    return text.replace(first_table(text), table())


SETTINGS, ERRORS = REFERENCE / "settings.md", REFERENCE / "errors.md"
FILES: dict[Path, Callable[[], str]] = {
    SETTINGS: partial(_page, SETTINGS, settings_table),
    ERRORS: partial(_page, ERRORS, errors_table),
    EXAMPLE: example_file,
}
"""The generated files, each with what makes its text."""


def main() -> None:
    """Writes the files."""
    for file, made in FILES.items():
        file.write_text(made())


if __name__ == "__main__":
    main()
