"""docs/security.md, followed line by line, ends with a secured server."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.cli import COMMAND, environment
from support.documents import ROOT, blocks, section, transcripts
from support.redis_server import free_port
from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GUIDE = ROOT / "docs" / "security.md"
ADDRESS = "127.0.0.1:50051"


class Shell:
    """A shell for the guide's commands, with its own folder and port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._address = f"127.0.0.1:{free_port()}"
        self._exports: list[str] = []
        self._env = environment(DUEBUS_SERVER=self._address)

    def type(self, command: str) -> str:
        """Runs a command to its end. Returns its output."""
        if command.startswith("export "):
            self._exports.append(command)
            return ""
        done = subprocess.run(
            ["bash", "-c", "\n".join((*self._exports, self._own(command)))],
            cwd=self._folder,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
            check=False,
        )
        return done.stdout

    def start(self, command: str) -> subprocess.Popen[str]:
        """Starts a command that keeps running."""
        return subprocess.Popen(
            ["bash", "-c", f"exec {self._own(command)}"],
            cwd=self._folder,
            env=self._env,
            stdout=subprocess.PIPE,
            text=True,
        )

    def save(self, name: str, content: str) -> Path:
        file = self._folder / name
        file.write_text(self._own(content))
        return file

    def _own(self, text: str) -> str:
        return text.replace(".venv/bin/duebus", str(COMMAND)).replace(ADDRESS, self._address)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def guided(shell: Shell) -> Iterator[subprocess.Popen[str]]:
    """The guide's server, after all the earlier steps."""
    for heading in ("Certificates", "Tokens"):
        for shown in transcripts(section(GUIDE, heading)):
            shell.type(shown.command)
    (rules,) = blocks(section(GUIDE, "Rules"), "toml")
    shell.save("acl.toml", rules)
    serve, *_ = transcripts(section(GUIDE, "Serve"))
    process = shell.start(serve.command)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("duebus ready on ")
    yield process
    process.terminate()
    process.wait(SIGNAL_TIMEOUT_S)
    process.stdout.close()


@pytest.mark.usefixtures("guided")
def test_the_guide_shows_what_happens(shell: Shell) -> None:
    _, export, *typed = transcripts(section(GUIDE, "Serve"))
    shell.type(export.command)
    for shown in typed:
        assert general(shell.type(shown.command)) == general("\n".join(shown.printed)), shown.command
    (program,) = blocks(section(GUIDE, "Serve"), "python")
    assert shell.type(f"{COMMAND.with_name('python')} {shell.save('shop.py', program)}") == ""
    (recorded,) = transcripts(section(GUIDE, "What is recorded"))
    assert general(shell.type(recorded.command)) == general("\n".join(recorded.printed))


def general(printed: str) -> str:
    """The output, without the parts that differ each time."""
    printed = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", printed)
    printed = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "TIME", printed)
    printed = re.sub(r"127\.0\.0\.1:\d+", "PEER", printed)
    printed = re.sub(r"\b[\d.]+m?s\b", "AGE", printed)
    return re.sub(r" +", " ", printed).strip()
