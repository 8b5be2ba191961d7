"""The version of every package: `make version TO=0.2.0` writes it, and the tests compare it with pyproject.toml.

A Go module has none in its own files: its version is that of its tag, such as `clients/go/v0.1.0`.
"""

from __future__ import annotations

import re
import sys
import tomllib

from support.documents import ROOT

PLACES = {
    "pyproject.toml": r'^version = "(.+)"$',
    "clients/rust/Cargo.toml": r'^version = "(.+)"$',
    "clients/rust/testcontainers/Cargo.toml": r'^duebus = { version = "(.+?)"',
    "clients/rust/testcontainers/src/lib.rs": r'"ghcr\.io/duebus/duebus", "(.+)"',
    "clients/rust/README.md": r'"ghcr\.io/duebus/duebus", "(.+?)"',
    "clients/typescript/package.json": r'^  "version": "(.+)",$',
    "clients/typescript/package-lock.json": r'^ +"name": "duebus",\n +"version": "(.+)",$',
    "clients/go/otelduebus/go.mod": r"^\tgithub\.com/duebus/duebus/clients/go v(\S+)$",
    "clients/java/pom.xml": r"^  <version>(.+)</version>$",
    "clients/java/duebus/pom.xml": r"^    <version>(.+)</version>$",
    "clients/java/duebus-testing/pom.xml": r"^    <version>(.+)</version>$",
    "clients/java/duebus-opentelemetry/pom.xml": r"^    <version>(.+)</version>$",
    "clients/java/duebus-spring-boot-starter/pom.xml": r"^    <version>(.+)</version>$",
    "clients/go/duebuscontainer/go.mod": r"^\tgithub\.com/duebus/duebus/clients/go v(\S+)$",
    "clients/go/README.md": r"duebus/duebus:([^\"]+)",
    "clients/typescript/README.md": r"duebus/duebus:([^\"]+)",
    "clients/java/duebus-testcontainers/pom.xml": r"^    <version>(.+)</version>$",
    "clients/java/README.md": r"(?:^  <version>|duebus/duebus:)([^<\"]+)",
    "helm/duebus/Chart.yaml": r"^(?:appVersion|version): (.+)$",
    "helm/duebus/README.md": r"^Version (\S+), for Kubernetes",
    "Dockerfile": r"^ARG VERSION=(.+)$",
    "deploy/compose.yaml": r"^    image: duebus:(.+)$",
    "docs/one-machine.md": r"^  duebus:(\S+) serve",
    "docs/kubernetes.md": r"registry\.example/duebus:(\S+)$",
}
"""Where the version stands: the files, each with a pattern whose only group is the version."""

VERSION = re.compile(r"\d+\.\d+\.\d+(-(?:alpha|beta|rc)\.\d+)?")
"""What npm, crates.io, Maven Central, Go and Helm all take, and PyPI in its own spelling (`0.2.0rc1`)."""


def version() -> str:
    """The version of this tree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def versions_in(file: str) -> set[str]:
    """The versions that a file has, according to its pattern."""
    return {found[1] for found in _pattern(file).finditer((ROOT / file).read_text())}


def write(new: str) -> None:
    """Write a version to every place.

    Raises:
        SystemExit: it is none that every registry takes.
    """
    if not VERSION.fullmatch(new):
        sys.exit(f"{new!r} is not a version like 0.2.0 or 0.2.0-rc.1")
    for file in PLACES:
        text = (ROOT / file).read_text()
        (ROOT / file).write_text(_pattern(file).sub(lambda found: found[0].replace(found[1], new), text))


def _pattern(file: str) -> re.Pattern[str]:
    return re.compile(PLACES[file], re.MULTILINE)


if __name__ == "__main__":
    write(sys.argv[1])
