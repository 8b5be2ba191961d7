"""Installs the peers: each Python peer in its own venv, npm's and Go's below ``build/``, Debian's on the system.

Anything already installed in the pinned version is left alone, so that a second run needs no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers.places import BUILD, PINS, PROGRAMS

if TYPE_CHECKING:
    from bench.peers.registry import Peer

TIMEOUT_S = 600


class MissingError(Exception):
    """A peer can't be installed; the message is one line that says why."""


def install(peer: Peer) -> None:
    """Make sure that a peer is installed.

    Raises:
        MissingError: it can't be installed here.
    """
    missing = [tool for tool in peer.needs if shutil.which(tool) is None]
    if missing:
        raise MissingError(f"{', '.join(missing)} is missing")
    if peer.debian:
        _debian(peer.debian)
    if peer.pip:
        _pip(peer.name)
    if peer.npm:
        _npm(peer.name)
    if peer.go or peer.go_build:
        _go(peer)


def installed(peer: Peer) -> bool:
    """Whether the peer's program and its pinned packages are there."""
    needed = [Path(program) for program in peer.debian.values()]
    if peer.pip or peer.npm:
        needed.append(_stamp(peer.name))
    return shutil.which(peer.program()[0]) is not None and all(one.exists() for one in needed)


def _pip(name: str) -> None:
    pins, folder = PINS / f"{name}.txt", BUILD / name
    if _is_current(name, pins):
        return
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--requirement", str(pins)])
    _remember(name, pins)


def _npm(name: str) -> None:
    pins, folder = PINS / name / "package.json", BUILD / name
    if _is_current(name, pins):
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(pins, folder)
    flags = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    _run(["npm", "install", *flags], cwd=folder)
    _remember(name, pins)


def _go(peer: Peer) -> None:
    """Go's build cache rebuilds only what has changed."""
    binaries = BUILD / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    for module in peer.go:
        _run(["go", "install", module], env={**os.environ, "GOBIN": str(binaries)})
    if peer.go_build:
        _run(["go", "build", "-o", str(binaries / peer.name), "."], cwd=PROGRAMS / peer.name)


def _debian(packages: dict[str, str]) -> None:
    """Installs packages without starting their services: runlevel 1 is for maintenance."""
    wanted = [package for package, program in packages.items() if not Path(program).exists()]
    if not wanted:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingError(f"install {', '.join(wanted)} (Debian installs it when this runs as root)")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    _run([*apt, "update"], env=env)
    _run([*apt, "install", "-y", "--no-install-recommends", *wanted], env=env)


def _run(command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise MissingError(f"{' '.join(command[:2])} failed: {said[-1] if said else done.returncode}")


def _stamp(name: str) -> Path:
    return BUILD / name / ".installed"


def _is_current(name: str, pins: Path) -> bool:
    stamp = _stamp(name)
    return stamp.exists() and stamp.read_text() == _fingerprint(pins)


def _remember(name: str, pins: Path) -> None:
    _stamp(name).write_text(_fingerprint(pins))


def _fingerprint(pins: Path) -> str:
    return f"{sys.version}\n{pins.read_text()}"
