"""Wrong arguments: status 2 and one line that names the option."""

import gc
import inspect
import re
import signal
import subprocess
import sys
from typing import Any

import pytest
import typer
from duebus.cli import main
from duebus.cli.app import COMMANDS, app
from support.cli import COMMAND


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status."""
    monkeypatch.setattr(sys, "argv", ["duebus", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code if isinstance(ended.value.code, int) else 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dispatch", "t", "x", "--delay", "5"], "'--delay': '5' is not a duration"),
        (["dispatch", "t", "x", "--delay", "-5s"], "'--delay': '-5s' is not a duration"),
        (["dispatch", "t", "x", "--at", "soon"], "'--at': 'soon' is not a time"),
        (["dispatch", "t", "x", "--delay", "1s", "--at", "2030-01-01"], "--delay: can't be given together with --at"),
        (["dispatch", "t", "x", "--count", "0"], "'--count' / '-n': '0' is not a whole number of at least 1"),
        (["dispatch", "t", "x", "--count", "many"], "'--count' / '-n': 'many' is not a whole number of at least 1"),
        (["dispatch", "t", "x", "--priority", "86401"], "'86401' is not a whole number from -86400 to 86400"),
        (["dispatch", "t", "x", "--attribute", "novalue"], "'novalue' is not NAME=VALUE"),
        (["dispatch", "t", "x", "--engine", "kafka"], "'kafka' is not one of 'local', 'redis' (see"),
        (["dispatch", "t", "x", "--max-retries", "-1"], "'--max-retries': '-1' is not a whole number of at least 0"),
        (["dispatch", "t", "x", "--file", "y"], "give either DATA or --file"),
        (["dispatch", "t"], "give either DATA or --file"),
        (["dispatch", "t", "--file", "y", "--count", "2"], "--count: can't be given together with --file"),
        (["dispatch", "t", "x", "--timeout", "0s"], "'--timeout': must be longer than 0s"),
        (["dispatch", "t", "x", "--server", "nowhere"], "'nowhere' is not HOST:PORT"),
        (
            ["events", "t", "--state", "unknown"],
            "'--state': 'unknown' is not one of 'scheduled', 'ready'",
        ),
        (["stop", "--drain-timeout", "soon"], "'--drain-timeout': 'soon' is not a duration"),
        (["serve", "--lease", "30"], "'--lease': '30' is not a duration"),
        (["subscribe", "t", "--count", "0"], "'--count'"),
        (["event", "t"], "Missing argument 'ID' (see"),
        (["schedule"], "Missing command (see 'duebus schedule --help')"),
        (["outbox"], "Missing command (see 'duebus outbox --help')"),
        (["journal"], "Missing command (see 'duebus journal --help')"),
        (["token"], "Missing command (see 'duebus token --help')"),
        (["dead", "t", "--redrive", "--purge"], "--redrive: can't be given together with --purge"),
        (["dead", "t", "--purge", "--yes", "--error", ""], "--error: is empty"),
        (["dead", "t", "--purge", "--yes", "--id", ""], "--id: is empty"),
        (["dead", "t", "--rate", "5"], "--rate: is for --redrive"),
        (["dead", "t", "--redrive", "--rate", "-1"], "'--rate': '-1' is not a number"),
        (["dead", "t", "--redrive", "--rate", "fast"], "'--rate': 'fast' is not a number"),
        (["dead", "t", "--min-age", "old"], "'--min-age': 'old' is not a duration"),
        (["cancel", "t"], "ID: give either IDs or --key"),
        (["cancel", "t", "a", "--key", "k"], "ID: give either IDs or --key"),
        (["reschedule", "t", "a"], "--delay: give the new time: --delay or --at"),
        (["reschedule", "t", "a", "--delay", "1s", "--at", "2030-01-01"], "--delay: can't be given together with --at"),
        (["config", "t", "--group", "g", "--max-queued", "1"], "--max-queued: is a setting of the whole topic"),
        (["config", "t", "--lease", "30"], "'--lease': '30' is not a duration"),
        (["delete-group", "t"], "Missing argument 'GROUP'"),
        (
            ["cancel", "t", "a", "b"],
            "would cancel 2 events of t; there is no terminal to ask on, so pass --yes",
        ),
        (["dispach", "t"], "Did you mean 'dispatch'"),
        (["dispatch", "t", "x", "--nonsense"], "No such option: --nonsense"),
    ],
)
def test_a_wrong_argument_is_named(
    arguments: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("duebus: ")
    assert complaint in line


def test_the_command_without_arguments_prints_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 0
    out = capsys.readouterr().out
    for command in ("serve", "dispatch", "topics", "event", "dead", "cancel", "pause", "delete-topic", "stop"):
        assert f"\n  {command} " in out


@pytest.mark.parametrize("group", ["journal", "outbox", "schedule", "token"])
def test_no_summary_of_a_command_is_cut_off(
    group: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, group, "--help")
    assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


def test_garbage_collection_is_enabled_once_a_command_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "--version")
    assert not gc.isenabled()
    run(monkeypatch, "worker", "nowhere:worker")
    assert gc.isenabled()


def test_arguments_that_are_texts_or_durations_do_not_load_pydantic() -> None:
    arguments = ["--server", "127.0.0.1:1", "dispatch", "t", "x", "--delay", "1s", "--id", "a", "--attribute", "b=c"]
    program = f"""
import sys
from duebus.cli import main
sys.argv = ["duebus", *{arguments}]
try:
    main()
finally:
    print([name for name in sys.modules if name.startswith("pydantic")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False)
    assert "can't reach a server at 127.0.0.1:1" in done.stderr
    assert done.stdout == "[]\n"


def test_in_a_container_sigterm_ends_a_command_that_is_still_loading() -> None:
    """The kernel drops a signal for process 1 that has no handler; that of any other process would end it."""
    program = """
import os, signal, sys
class WhileItLoads:
    def find_spec(self, name, *_):
        if name == "duebus.cli.app":
            signal.raise_signal(signal.SIGTERM)
os.getpid = lambda: 1
from duebus.cli import main
sys.meta_path.insert(0, WhileItLoads())
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "", "")


def test_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("duebus 0.")


COMPLETED = [
    ("dis", ["dispatch"]),
    ("delete-", ["delete-group", "delete-topic"]),
    ("--vers", ["--version"]),
    ("dispatch --del", ["--delay"]),
    ("dispatch order.created x --engine r", ["redis"]),
    ("schedule pre", ["preview"]),
]


@pytest.mark.parametrize(("typed", "completed"), COMPLETED)
def test_the_completion_of_bash(typed: str, completed: list[str]) -> None:
    """In a real bash, as the tab key does it."""
    script = subprocess.run([COMMAND, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    words = ["duebus", *typed.split()]
    function = re.search(r"-F (\w+) duebus", script)
    assert function is not None
    press_tab = (
        f"{script}\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        f"{function[1]} {COMMAND}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "--norc", "-c", press_tab], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (completed, "")


@pytest.mark.parametrize(("typed", "completed"), COMPLETED)
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_what_the_completion_of_zsh_and_fish_asks_for(
    shell: str,
    typed: str,
    completed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "completion", shell) == 0
    assert f"_DUEBUS_COMPLETE=complete_{shell}" in capsys.readouterr().out

    ask_for_completion(monkeypatch, shell, typed)
    assert run(monkeypatch) == 0
    offered = r'^(?:_arguments .*\(\()?"(.+?)"' if shell == "zsh" else r"^([^\t\n]+)"
    assert re.findall(offered, capsys.readouterr().out, re.MULTILINE) == completed


def ask_for_completion(monkeypatch: pytest.MonkeyPatch, shell: str, typed: str) -> None:
    """As the script of a shell does it."""
    monkeypatch.setenv("_DUEBUS_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", f"duebus {typed}")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")


def test_completing_a_command_loads_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_for_completion(monkeypatch, "fish", "s")
    monkeypatch.setattr("duebus.cli.app.import_module", None)
    assert run(monkeypatch) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_the_summary_of_each_command(name: str) -> None:
    group: Any = typer.main.get_command(app)
    said = inspect.cleandoc(group.get_command(None, name).help).partition("\n\n")[0]
    assert COMMANDS[name].summary == " ".join(said.split())
