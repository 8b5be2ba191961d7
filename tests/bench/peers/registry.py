"""The registry of peers, ``peers.toml``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field

from bench.peers.places import BUILD, HERE, PINS, PROGRAMS

GO_VERSION = re.compile(r"^(?:require |\t)(\S+) (v\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Peer:
    """One peer: what it needs, and the settings it is measured with; `peers.toml` explains the fields."""

    name: str
    title: str
    broker: str
    command: list[str]
    needs: list[str]
    settings: str
    share: float
    pip: bool = False
    npm: bool = False
    go: list[str] = field(default_factory=list)
    go_build: bool = False
    debian: dict[str, str] = field(default_factory=dict)
    shows: list[str] = field(default_factory=list)
    delays: bool = True

    def program(self) -> list[str]:
        """The command, with the places filled in."""
        places = {"build": BUILD, "programs": PROGRAMS, "python": sys.executable}
        return [part.format(**places) for part in self.command]

    def pins(self) -> dict[str, str]:
        """The packages of PyPI, npm or Go that are pinned, with their versions."""
        if self.pip:
            lines = (PINS / f"{self.name}.txt").read_text().splitlines()
            return dict(line.split("==") for line in lines)
        if self.npm:
            pinned: dict[str, str] = json.loads((PINS / self.name / "package.json").read_text())["dependencies"]
            return pinned
        if self.go_build:
            return dict(GO_VERSION.findall((PROGRAMS / self.name / "go.mod").read_text()))
        return {}

    def versions(self) -> dict[str, str]:
        """The versions that the tables show: the pinned ones, and those of installed Debian packages."""
        pins = self.pins()
        shown = {name.rpartition("/")[2]: pins[name].lstrip("v") for name in self.shows}
        installed = dict(one.split("@") for one in map(_short, self.go))
        return {**installed, **{package: _debian_version(package) for package in self.debian}, **shown}


def load() -> dict[str, Peer]:
    """All peers by name, in the order of the file."""
    tables = tomllib.loads((HERE / "peers.toml").read_text())
    return {name: Peer(name=name, **table) for name, table in tables.items()}


def _short(module: str) -> str:
    """``nats-server@2.15.2`` of ``github.com/nats-io/nats-server/v2@v2.15.2``."""
    path, _, version = module.partition("@")
    return f"{re.sub(r'/v[0-9]+$', '', path).rpartition('/')[2]}@{version.lstrip('v')}"


def _debian_version(package: str) -> str:
    command = ["dpkg-query", "--show", "--showformat", "${Version}", package]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout or "not installed"
