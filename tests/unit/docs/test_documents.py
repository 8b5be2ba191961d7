"""Tables, links and commands of the documents agree with the code."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import typer
from duebus.cli.app import COMMANDS, app
from duebus.v1 import error_details_pb2
from duebus_server.config import Settings, SettingsError, allowed, default, load_settings
from duebus_server.domain.clock import SECOND
from duebus_server.domain.units import DURATION, SIZE, parse_duration, parse_size
from duebus_server.wire.status import STATUS_CODES
from support import site
from support.documents import DOCUMENTS, README, ROOT, anchors, blocks, links, section, table
from support.reference import EXAMPLE, FILES, REFERENCE, python_error, reasons

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS_PAGE = (REFERENCE / "commands.md").read_text()
RUNBOOKS = [page for page in DOCUMENTS if page.parent.name == "runbooks" and page.name != "README.md"]
"""Their index links to them."""
DUEBUS = ".venv/bin/duebus "


# --- generated from the code ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_generated_file_agrees_with_the_code(file: Path) -> None:
    assert file.read_text() == FILES[file](), "run `make reference`"


def test_the_server_reads_the_example_of_a_file_and_every_default_is_as_it_says(tmp_path: Path) -> None:
    example, defaults = EXAMPLE.read_text(), load_settings({})
    set_by_default = re.sub(r"^#(\w+ = (?!\"\"))", r"\1", example, flags=re.MULTILINE)
    with_default = {name for name in Settings.model_fields if default(name)}
    file = tmp_path / "duebus.toml"
    for text, set_in_it in ((example, set()), (set_by_default, with_default)):
        file.write_text(text)
        settings = load_settings({"config": str(file)})
        assert settings.model_fields_set - {"config"} == set_in_it
        assert settings.model_copy(update={"config": None}) == defaults


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_described_and_its_default_is_within_its_range(name: str) -> None:
    assert Settings.model_fields[name].description
    if default(name):
        assert getattr(load_settings({name: default(name)}), name) == getattr(load_settings({}), name)


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if " to " in allowed(name)])
def test_a_number_is_allowed_exactly_within_its_bounds(name: str) -> None:
    low, _, high = allowed(name).partition(" to ")
    assert is_in_range(name, low)
    assert is_in_range(name, high)
    assert not is_in_range(name, just_outside(low, -1))
    assert not is_in_range(name, just_outside(high, +1))


def test_the_file_that_is_shown_is_read(tmp_path: Path) -> None:
    (shown,) = blocks((REFERENCE / "settings.md").read_text(), "toml")
    file = tmp_path / "duebus.toml"
    file.write_text(shown)

    settings = load_settings({"config": str(file)})

    assert (settings.engine, settings.max_retries, settings.backoff_initial) == (("local",), 5, SECOND)


def test_the_charts_schema_allows_what_the_server_allows() -> None:
    schema = json.loads((ROOT / "helm/duebus/values.schema.json").read_text())
    known = schema["properties"]["settings"]["properties"]
    assert schema["definitions"]["duration"]["pattern"] == f"^{DURATION}$"
    size = schema["properties"]["limits"]["properties"]["maxMessageSize"]
    assert {"type": "string", "pattern": f"^{SIZE}$"} in size["anyOf"]
    assert known["logFormat"] == {"enum": allowed("log_format").split(" or ")}
    assert known["namespace"]["pattern"] == pattern_of("namespace")
    elsewhere = [
        ("redis", "minReplicasAck", "min_replicas_ack"),
        ("metrics", "topics", "metrics_topics"),
        ("limits", "maxStreamsPerConnection", "max_streams_per_connection"),
    ]
    rules = {re.sub(r"([A-Z])", r"_\1", name).lower(): rule for name, rule in known.items()}
    rules |= {name: schema["properties"][part]["properties"][value] for part, value, name in elsewhere}
    for name, rule in rules.items():
        for number in [each for each in rule.get("anyOf", [rule]) if each.get("type") == "integer"]:
            assert f"{number['minimum']} to {number['maximum']}" == allowed(name), name


def pattern_of(name: str) -> str:
    """The regular expression for the text of a setting."""
    (pattern,) = (each.pattern for each in Settings.model_fields[name].metadata if hasattr(each, "pattern"))
    return str(pattern)


def is_in_range(name: str, value: str) -> bool:
    """Whether a value is within a setting's own range."""
    try:
        load_settings({name: value})
    except SettingsError as error:
        return error.setting != name
    return True


def just_outside(bound: str, step: int) -> str:
    """The nearest value outside: a number by 1, a duration by a microsecond, a size by a byte."""
    if bound.isdigit():
        return str(int(bound) + step)
    if bound.endswith("B"):
        return f"{parse_size(bound) + step}B"
    return f"{parse_duration(bound) + step}us"


def test_every_reason_has_the_status_that_the_contract_says_on_the_server_and_an_exception_in_the_client() -> None:
    statuses = {error.reason: code.name for error, code in STATUS_CODES.items()} | {"INTERNAL": "INTERNAL"}
    assert {each.name: each.status for each in reasons()} == statuses
    assert {each.name for each in reasons()} == {
        name.removeprefix("ERROR_REASON_")
        for name in error_details_pb2.ErrorReason.keys()  # noqa: SIM118  # not a dict
    } - {"UNSPECIFIED"}
    assert all(python_error(each.name) for each in reasons())


# --- commands and links -----------------------------------------------------------------------------------------------


def test_every_command_is_in_the_overview_and_nothing_else() -> None:
    shown = {row[0].strip("`").split()[0] for row in table(COMMANDS_PAGE)}
    assert shown == set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_command_that_is_shown_is_understood(document: Path) -> None:
    for shown in re.findall(rf"{re.escape(DUEBUS)}(?!COMMAND)[^`#\n]+", document.read_text()):
        for one in shown.split("   and   "):
            understand(shlex.split(one.removeprefix(DUEBUS)))


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_every_command_of_a_runbook_is_understood(page: Path) -> None:
    shown = re.findall(r"(?:^\$ |`)duebus ([^`\n]+)", page.read_text(), re.MULTILINE)
    for arguments in map(shlex.split, shown):
        if len(arguments) > 1:
            understand(arguments)
        else:
            assert command(arguments[0]) is not None, arguments


@pytest.mark.parametrize("flag", re.findall(r"--[a-z][a-z-]*", COMMANDS_PAGE))
def test_every_flag_of_the_overview_exists(flag: str) -> None:
    root: Any = typer.main.get_command(app)
    commands = [root, *map(command, COMMANDS)]
    commands += [each for group in commands for each in getattr(group, "commands", {}).values()]
    flags = {option for one in commands for each in one.params for option in each.opts}
    assert flag in flags | {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in links(document):
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_readme_is_one_page() -> None:
    assert len(README.read_text().split()) <= 1200


def test_every_document_is_in_the_index() -> None:
    missing = set(DOCUMENTS) - set(site.pages())
    assert not missing, f"docs/README.md has no row for {', '.join(str(page.relative_to(ROOT)) for page in missing)}"


def command(name: str) -> Any:
    """The command that the command line would run."""
    group: Any = typer.main.get_command(app)
    return group.get_command(None, name)


def understand(arguments: list[str]) -> None:
    """Parse a command without running it."""
    command(arguments[0]).make_context(arguments[0], arguments[1:])


# --- CONTRIBUTING's drawing -------------------------------------------------------------------------------------------

SERVER = ROOT / "server" / "duebus_server"
SHARED_STEPS, LOCAL_STEPS, REDIS_STEPS = 8, 7, 12


def test_the_drawing_of_one_event_names_files_that_exist_and_not_many() -> None:
    drawing = section(ROOT / "CONTRIBUTING.md", "One event through the server").split("```")[1]
    above, below = drawing.split("     +-- local")
    shared = re.findall(r"[\w/]+\.py", above)
    local, redis = files_of_columns(below)
    assert [len(shared), len(local), len(redis)] == [SHARED_STEPS, LOCAL_STEPS, REDIS_STEPS]
    assert SHARED_STEPS + LOCAL_STEPS <= 15
    assert SHARED_STEPS + REDIS_STEPS <= 20
    named = {(SERVER / name).name for name in [*shared, *local, *redis]}
    there = {path.name for path in SERVER.rglob("*") if path.suffix in (".py", ".lua")}
    assert named <= there
    assert all((SERVER / "engine" / "local" / name).exists() for name in local)


def test_the_design_of_the_clients_names_files_that_exist() -> None:
    design = ROOT / "clients/DESIGN.md"
    (_, *folders), *rows = table(section(design, "The files"))
    for row in rows:
        for folder, names in zip(folders, row[1:], strict=True):
            (link,) = re.findall(r"\]\((\S+)\)", folder)
            for name in re.findall(r"`([\w.]+)`", names):
                assert (design.parent / link / (name if "." in name else f"{name}.java")).exists(), name


def files_of_columns(drawing: str) -> tuple[list[str], list[str]]:
    """The files in the left column, and those in the right one."""
    left = [line[:44] for line in drawing.splitlines()]
    right = [line[44:] for line in drawing.splitlines()]
    return re.findall(r"[\w/]+\.py", "\n".join(left)), re.findall(r"[\w/]+\.(?:py|lua)", "\n".join(right))
