"""docs/tutorial.md: its programs and commands, in order, on a server that is killed on the way."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from support.cli import Cli, environment
from support.documents import ROOT, Transcript, blocks, transcripts
from support.web import Web
from wire.test_operating_guide import general

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.server_process import ServerProcess

GUIDE = ROOT / "docs" / "tutorial.md"
PROGRAMS = ("orders.py", "shop.py", "test_shop.py")
KILL = "pkill -9 -f 'duebus serve'"


class Shell:
    """The third shell of the tutorial, in a folder with its programs."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def run(self, shown: Transcript) -> None:
        """Run a command, and compare what it prints with what the tutorial shows."""
        program, *arguments = shlex.split(shown.command)
        printed = PROGRAM[program](self, arguments)
        assert general(printed).endswith(general("\n".join(shown.printed))), f"{shown.command}\n{printed}"

    def duebus(self, arguments: list[str]) -> str:
        """What the command prints."""
        return Cli(self._server.address, self._folder).ok(*arguments, COLUMNS="120").out

    def python(self, arguments: list[str]) -> str:
        """What a program prints."""
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=self._folder, env=environment(), capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done.stdout

    def make(self, arguments: list[str]) -> str:
        """Nothing: these tests run in what it installs."""
        assert arguments == ["install"]
        return ""


PROGRAM = {".venv/bin/duebus": Shell.duebus, ".venv/bin/python": Shell.python, "make": Shell.make}


def test_the_tutorial(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    # given: the server of `make run`, and the programs
    keeping = ("--engine", "local", "--data-dir", str(tmp_path / "data"))
    server = start_server(*keeping, "--web-listen", "127.0.0.1:0")
    folder = tmp_path / "clone"
    folder.mkdir()
    for name, program in zip(PROGRAMS, blocks(GUIDE.read_text(), "python"), strict=True):
        (folder / name).write_text(program.replace("127.0.0.1:50051", server.address))
    shell, (serve, work, *commands) = Shell(server, folder), steps()
    assert isinstance(serve, Transcript)
    assert serve.command == "make run"
    assert isinstance(work, Transcript)

    with Cli(server.address, folder).start(*shlex.split(work.command)[1:]) as worker:
        worker.wait_for("shop:worker is ready; Ctrl-C drains it")
        # when, then: each command prints what is shown, and the worker prints the lines between them
        for shown in commands:
            if isinstance(shown, str):
                assert [worker.line() for _ in shown.splitlines()] == shown.splitlines()
            elif shown.command == KILL:
                assert Web(server.web or "").ask("GET", "/").body.startswith(b"<!doctype html>")
                server.kill()
                server = start_server(*keeping, listen=server.address)
                worker.wait_for("the server can be reached again")
            else:
                shell.run(shown)
        assert worker.end().status == 0


def steps() -> Iterator[Transcript | str]:
    """The commands of the tutorial, and between them the lines that the worker prints."""
    shown = re.compile(r"^```(?:console)?\n(?:\$|to |order ).*?^```$", re.MULTILINE | re.DOTALL)
    for block in shown.findall(GUIDE.read_text()):
        yield from transcripts(block) or blocks(block, "")
