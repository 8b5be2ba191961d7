"""The registry is consistent, installed peers run, and the tables show what was measured. No test needs a network."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bench import markdown
from bench.peers import __main__ as command
from bench.peers import scenarios, tables
from bench.peers.installing import MissingError, install, installed
from bench.peers.places import HERE, PINS, PROGRAMS
from bench.peers.registry import load
from bench.peers.services import BROKERS
from bench.report import Series
from bench.scenarios import QUICK, IncompleteError
from bench.system import RoleError, role_env

if TYPE_CHECKING:
    from bench.peers.registry import Peer
    from bench.scenarios import Figures, Size

PEERS = load()
EXACT = re.compile(r"[0-9]+(\.[0-9a-z]+)+")


@pytest.mark.parametrize("peer", PEERS.values(), ids=list(PEERS))
def test_a_peer_has_a_broker_a_program_settings_and_exact_versions(peer: Peer) -> None:
    assert peer.broker in BROKERS
    assert peer.settings
    assert 0 < peer.share <= 1
    assert program_file(peer).exists()
    assert all(EXACT.fullmatch(version.removeprefix("v")) for version in peer.pins().values())
    assert all(EXACT.fullmatch(module.rpartition("@v")[2]) for module in peer.go)
    assert peer.versions(), "the tables have to say what was measured"


def test_the_files_of_the_registry_have_no_address_of_a_package_registry() -> None:
    files = [path for path in [*PINS.rglob("*"), *PROGRAMS.rglob("go.*"), HERE / "peers.toml"] if path.is_file()]
    assert {"arq.txt", "go.mod", "go.sum", "package.json", "peers.toml"} <= {path.name for path in files}
    for path in files:
        assert "://" not in path.read_text(), path


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.pip and installed(peer)])
def test_installed_peers_have_all_that_their_programs_import(name: str) -> None:
    python, _, module = PEERS[name].program()
    done = run([python, "-c", f"import {module}"])
    assert done.returncode == 0, done.stderr


def test_beanstalkds_program_needs_nothing_but_the_standard_library() -> None:
    python, _, module = PEERS["beanstalkd"].program()
    code = f"import sys; sys.path.insert(0, {str(HERE.parents[1])!r}); import {module}"
    done = run([python, "-I", "-S", "-c", code])
    assert done.returncode == 0, done.stderr


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="go is missing"):
        install(PEERS["asynq"])


@pytest.mark.parametrize("strict", [False, True])
def test_a_peer_that_can_not_be_installed_is_a_line_and_with_strict_a_failure(
    strict: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["bench.peers", "--install-only", "--peers", "asynq", *["--strict"] * strict])

    assert command.main() == int(strict)
    assert "asynq is left out: go is missing" in capsys.readouterr().out


@pytest.mark.parametrize("error", [RoleError("it ended"), IncompleteError("9 of 10")])
def test_a_failing_peer_is_left_out_of_that_scenario_only(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def drained(peer: Peer, _: Size) -> Figures:
        asked.append(peer.name)
        if peer.name == "arq":
            raise error
        return {"events_per_s": 10.0 * len(asked)}

    monkeypatch.setitem(scenarios.SCENARIOS, "drain", (scenarios.SCENARIOS["drain"][0], drained))
    planned = command.Run(["drain"], [], [PEERS["arq"], PEERS["celery"]], QUICK, rounds=2, timed_rounds=1)

    measured, failed = command.measure(planned)

    assert asked == ["arq", "celery", "celery"]
    assert list(failed) == ["arq, drain"]
    assert [one.values for one in measured] == [{"events_per_s": [20.0, 30.0]}]


def test_the_tables_fill_their_place_in_a_document_and_nothing_else(tmp_path: Path) -> None:
    series = Series("drain", "arq", {"events_per_s": [900.0, 1_000.0, 1_200.0]})
    rows = tables.results([series], {"arq": "arq", "celery": "Celery"})
    assert rows[1][2] == "1,000 (900 to 1,200)"
    assert set(rows[2][1:]) == {markdown.NOTHING}

    path = tmp_path / "page.md"
    path.write_text("above\n<!-- peers: begin -->\nold\n<!-- peers: end -->\nbelow\n")
    markdown.fill(path, tables.PLACE, markdown.markdown(rows))

    assert path.read_text().startswith("above\n<!-- peers: begin -->\n\n| ")
    assert path.read_text().endswith("|\n\n<!-- peers: end -->\nbelow\n")
    assert "old" not in path.read_text()


def test_a_document_without_a_place_for_the_tables_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("nothing here\n")
    with pytest.raises(ValueError, match="no place for the tables"):
        markdown.fill(path, tables.PLACE, "text")
    assert path.read_text() == "nothing here\n"


def program_file(peer: Peer) -> Path:
    """The source of a peer's program."""
    last = peer.program()[-1]
    if peer.go_build:
        return PROGRAMS / peer.name / "main.go"
    return PROGRAMS / f"{last.rpartition('.')[2]}.py" if last.startswith("bench.") else PROGRAMS / Path(last).name


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command with the tests on Python's path. Returns its result."""
    return subprocess.run(command, env=role_env(), capture_output=True, text=True, timeout=60, check=False)
