"""Which Python `make install` takes of those on the path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from textwrap import dedent
from typing import TYPE_CHECKING

from support.documents import ROOT

if TYPE_CHECKING:
    from pathlib import Path

NOTICE = "was built without --enable-optimizations"


def python(folder: Path, configured: str, version: str = "(3, 12, 1)") -> str:
    """A command `python3` in that folder, which says that its build was configured so. Returns its path."""
    folder.mkdir()
    lie = f"import sys, sysconfig; sysconfig.get_scheme_names = tuple; sys.version_info = {version}; "
    lie += f"sysconfig.get_config_var = lambda name: {configured!r}; exec(sys.argv[1])"
    command = folder / "python3"
    command.write_text(
        dedent(f"""\
            #!{shutil.which("sh")}
            if [ "$1" = -c ]; then exec {sys.executable} -c "{lie}" "$2"; fi
            echo "$(basename "$(dirname "$0")") $@"
            """)
    )
    command.chmod(0o755)
    return str(command)


def made_with(tmp_path: Path, *folders: str) -> str:
    """What is printed when .venv is made with only these folders on the path, each with a `python3`."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "sh", "basename", "dirname"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    path = os.pathsep.join([*(str(tmp_path / folder) for folder in folders), str(tools)])
    command = [str(shutil.which("make")), f"BIN={tmp_path}/venv", f"{tmp_path}/venv/python"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_python_that_was_built_with_optimization_is_preferred(tmp_path: Path) -> None:
    python(tmp_path / "plain", "--prefix=/usr")
    python(tmp_path / "old", "--enable-optimizations", "(3, 10, 9)")
    python(tmp_path / "unlocked", "--enable-optimizations", "(3, 11, 2)")
    python(tmp_path / "optimized", "--enable-optimizations --with-lto")

    printed = made_with(tmp_path, "plain", "old", "unlocked", "optimized")

    assert printed.splitlines()[-1] == "optimized -m venv .venv"
    assert NOTICE not in printed


def test_a_line_says_that_no_python_was_built_with_optimization(tmp_path: Path) -> None:
    first = python(tmp_path / "plain", "--prefix=/usr")
    python(tmp_path / "other", "--prefix=/opt")

    notice, made = made_with(tmp_path, "plain", "other").splitlines()[-2:]

    assert notice == f"{first} {NOTICE}: DueBus takes a fifth more processor time on it"
    assert made == "plain -m venv .venv"
