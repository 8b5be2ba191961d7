"""Parses the Dockerfile and runs its build stage without Docker."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from dockerfile_parse import DockerfileParser

from support.documents import ROOT

DOCKERFILE = ROOT / "Dockerfile"
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-build.lock")


class Step(NamedTuple):
    """One instruction."""

    instruction: str
    value: str


def stages() -> list[list[Step]]:
    """The steps of each stage, FROM first."""
    found: list[list[Step]] = []
    for each in DockerfileParser(str(DOCKERFILE)).structure:
        step = Step(each["instruction"], each["value"])
        if step.instruction == "FROM":
            found.append([])
        if found and step.instruction != "COMMENT":
            found[-1].append(step)
    return found


def values(steps: list[Step], instruction: str) -> list[str]:
    """The arguments of the steps of a kind."""
    return [step.value for step in steps if step.instruction == instruction]


HEALTHCHECK = ["python", "-m", "duebus_server.ops.healthcheck"]
IMAGE_USER = int(values(stages()[-1], "USER")[0].partition(":")[0])


def build(root: Path) -> None:
    """Run the build stage, with `root` as the root of the image and this Python in place of the image's."""
    environment = dict(os.environ)
    python = _python(root)
    workdir = root
    for step in stages()[0]:
        match step.instruction:
            case "ENV":
                environment |= dict(part.split("=", 1) for part in shlex.split(step.value))
                del environment["PIP_NO_CACHE_DIR"]  # which is for a small image
            case "WORKDIR":
                workdir = root / step.value.lstrip("/")
                workdir.mkdir(parents=True)
            case "COPY":
                _copy(shlex.split(step.value), workdir)
            case "RUN":
                _run(step.value, root, workdir, {**environment, "PATH": f"{python.parent}:{os.environ['PATH']}"})


def _python(root: Path) -> Path:
    """This Python, or a copy if other users can't reach it, for example because it is in root's home."""
    base = Path(sys.base_prefix)
    if all(folder.stat().st_mode & stat.S_IXOTH for folder in (base, *base.parents)):
        return Path(sys._base_executable)  # type: ignore[attr-defined]  # venv reads it
    copied = root / "usr" / "local"
    left_out = shutil.ignore_patterns("__pycache__", "test", "*.a", "site-packages")
    for name in ("bin", "lib"):
        shutil.copytree(base / name, copied / name, ignore=left_out, symlinks=True)
    return copied / "bin" / "python3"


def _copy(arguments: list[str], workdir: Path) -> None:
    *sources, target = arguments
    for name in sources:
        source, copied = ROOT / name, workdir / target
        if source.is_dir():
            shutil.copytree(source, copied, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copied)


def _run(command: str, root: Path, workdir: Path, environment: dict[str, str]) -> None:
    moved = re.sub(r"(?<!\S)/opt/", f"{root}/opt/", command)
    moved = re.sub(r"(?<!\S)python ", "python3 ", moved)
    done = subprocess.run(
        ["sh", "-ec", moved], cwd=workdir, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
