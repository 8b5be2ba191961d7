"""Tables, links and commands of the documents agree with the code."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import typer
from duebus import errors
from duebus.cli.app import COMMANDS, app
from duebus.v1 import error_details_pb2
from duebus_server.config import Settings, SettingsError, format_duration, format_size, load_settings
from duebus_server.wire.status import STATUS_CODES
from support.documents import DOCUMENTS, README, ROOT, anchors, blocks, links, section, table

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {row[0].strip("`-").replace("-", "_"): row for row in table(section(README, "Settings"))}
ERRORS = {row[0].strip("`"): row for row in table(section(README, "Errors"))}
DUEBUS = ".venv/bin/duebus "


# --- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    assert list(SETTINGS) == list(Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_has_the_environment_variable_and_the_default_that_the_table_says(name: str) -> None:
    _, environment, default, _, _ = SETTINGS[name]
    assert environment.strip("`") == f"DUEBUS_{name.upper()}"
    assert default.strip("`") == written(name, Settings.model_fields[name].default)


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if re.search(r"from|to", row[3])])
def test_a_number_or_duration_is_allowed_exactly_within_the_bounds_that_the_table_says(name: str) -> None:
    low, _, high = SETTINGS[name][3].removeprefix("from ").replace("`", "").partition(" to ")
    assert is_in_range(name, low)
    assert not is_in_range(name, just_outside(low, -1))
    if high:
        assert is_in_range(name, high)
        assert not is_in_range(name, just_outside(high, +1))


def test_the_file_that_is_shown_is_read(tmp_path: Path) -> None:
    (shown,) = blocks(section(README, "Settings"), "toml")
    file = tmp_path / "duebus.toml"
    file.write_text(shown)

    settings = load_settings({"config": str(file)})

    for name, value in tomllib.loads(shown).items():
        assert written(name, getattr(settings, name)) == (value[0] if isinstance(value, list) else str(value))


def written(name: str, value: Any) -> str:
    """A value of a setting as people write it."""
    if name == "engine":
        return ",".join(value)
    if isinstance(value, int) and is_in_range(name, "1MiB"):
        return format_size(value)
    if isinstance(value, int) and not is_in_range(name, "1"):  # a duration needs its unit
        return format_duration(value)
    return "" if value is None else str(value)


def is_in_range(name: str, value: str) -> bool:
    """Whether a setting takes a value, as far as its own range goes."""
    try:
        load_settings({name: value})
    except SettingsError as error:
        fits_with_others = re.search(r"less than backoff_initial|the local engine lives in one process", str(error))
        return fits_with_others is not None
    return True


def just_outside(bound: str, step: int) -> str:
    """The next value in the smallest unit: 1 for numbers, a microsecond for durations."""
    if bound.isdigit():
        return str(int(bound) + step)
    sizes = {"KiB": 1 << 10, "GiB": 1 << 30}
    number, unit = re.fullmatch(r"(\d+)(\w+)", bound).groups()  # type: ignore[union-attr]  # a failure is a failure
    if unit in sizes:
        return f"{int(number) * sizes[unit] + step}B"
    units = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
    return f"{int(number) * units[unit] + step}us"


# --- errors -----------------------------------------------------------------------------------------------------------


def test_every_reason_is_in_the_table_and_nothing_else() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in error_details_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert set(ERRORS) == reasons - {"UNSPECIFIED"}


@pytest.mark.parametrize("reason", ERRORS)
def test_a_reason_has_the_status_and_the_exception_that_the_table_says(reason: str) -> None:
    _, status, python, _ = ERRORS[reason]
    statuses = {error.reason: code.name for error, code in STATUS_CODES.items()} | {"INTERNAL": "INTERNAL"}
    assert status == statuses[reason]
    assert getattr(errors, python.strip("`")).reason == reason


# --- commands and links -----------------------------------------------------------------------------------------------


def test_every_command_is_in_the_overview_and_nothing_else() -> None:
    shown = {row[0].strip("`").split()[0] for row in table(section(README, "Command line"))}
    assert shown == set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_command_that_is_shown_is_understood(document: Path) -> None:
    for shown in re.findall(rf"{re.escape(DUEBUS)}(?!COMMAND)[^`#\n]+", document.read_text()):
        for one in shown.split("   and   "):
            understand(shlex.split(one.removeprefix(DUEBUS)))


@pytest.mark.parametrize("flag", re.findall(r"--[a-z][a-z-]*", section(README, "Command line")))
def test_every_flag_of_the_overview_exists(flag: str) -> None:
    flags = {option for name in COMMANDS for each in command(name).params for option in each.opts}
    assert flag in flags | {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in links(document):
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_document_is_linked_from_the_readme() -> None:
    linked = {(ROOT / target).resolve() for target in links(README)}
    assert set(DOCUMENTS) - {README} <= linked


def command(name: str) -> Any:
    """As the command line finds it."""
    group: Any = typer.main.get_command(app)
    return group.get_command(None, name)


def understand(arguments: list[str]) -> None:
    """Parses a command as a run of it would, without running it."""
    command(arguments[0]).make_context(arguments[0], arguments[1:])
