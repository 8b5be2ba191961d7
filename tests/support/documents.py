"""Splits the documents into parts that tests compare with the code."""

from __future__ import annotations

import re
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = (
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "UPGRADING.md",
    ROOT / "RELEASING.md",
    ROOT / "SECURITY.md",
    ROOT / "CODE_OF_CONDUCT.md",
    ROOT / "clients/DESIGN.md",
    ROOT / "clients/FEATURE_PARITY.md",
    ROOT / "tests/conformance/PROTOCOL.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)

_BLOCK = re.compile(r"^```([\w,]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


class Transcript(NamedTuple):
    """A command that a document shows, and what it prints."""

    command: str
    printed: list[str]


def section(document: Path, heading: str) -> str:
    """The text under a heading of the second level."""
    _, found, rest = document.read_text().partition(f"\n## {heading}\n")
    assert found, f"{document.name} has no section {heading!r}"
    return rest.partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    """The code blocks in a language; "" for those that name none."""
    return [code for named, code in _BLOCK.findall(text) if named == language]


def transcripts(text: str) -> list[Transcript]:
    """The commands of the console blocks, each with the lines that are shown after it."""
    found: list[Transcript] = []
    for block in blocks(text, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Transcript(line.removeprefix("$ "), []))
            elif found:
                found[-1].printed.append(line)
    return found


def table(text: str) -> list[list[str]]:
    """The rows of the first table, each a list of its cells, without the heading."""
    lines = dropwhile(lambda line: not line.startswith("|"), text.splitlines())
    rows = [line.strip("|").split("|") for line in takewhile(lambda line: line.startswith("|"), lines)]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def links(document: Path) -> list[str]:
    """The targets of its links, except those on other sites."""
    return [target for target in LINK.findall(document.read_text()) if "://" not in target]


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
