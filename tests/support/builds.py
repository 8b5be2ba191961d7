"""Earlier builds of the server, from the history of this repository."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.documents import ROOT
from support.server_process import SERVER, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

COMMITS = 50
"""Until there is a release, the previous build is that of so many commits ago."""

SOURCES = ("server", "clients/python")


@dataclass(frozen=True)
class Build:
    """A build of the server.

    Attributes:
        commit: what it was made of; "" for what is in the working tree.
        folder: where its sources are.
    """

    commit: str
    folder: Path

    def serve(self, log: Path, *flags: str) -> ServerProcess:
        """A server of this build; it is started as a program of its own, because it must not share modules."""
        path = os.pathsep.join(str(self.folder / each) for each in SOURCES)
        found = subprocess.run(
            [sys.executable, "-c", f"import {SERVER}; print({SERVER}.__file__)"],
            env={**os.environ, "PYTHONPATH": path},
            text=True,
            capture_output=True,
            check=True,
        )
        assert found.stdout.startswith(str(self.folder / SOURCES[0])), found.stdout
        return ServerProcess(log, *flags, module=f"{SERVER}.__main__", env={"PYTHONPATH": path})


def this_build() -> Build:
    """What is in the working tree."""
    return Build("", ROOT)


def previous_build(folder: Path) -> Build:
    """The last release before HEAD, or before the first release the build of some commits ago, extracted into a folder.

    In a clone that does not go back so far, or without git, it is this build: two of it still run side by side.
    """
    commit = _git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^") or _git("rev-parse", f"HEAD~{COMMITS}")
    if not commit:
        return this_build()
    archive = subprocess.run(["git", "-C", ROOT, "archive", commit, *SOURCES], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as sources:
        sources.extractall(folder, filter="data")
    return Build(commit, folder)


def _git(*arguments: str) -> str:
    """What git prints; "" if it fails or is missing."""
    try:
        done = subprocess.run(["git", "-C", ROOT, *arguments], text=True, capture_output=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
