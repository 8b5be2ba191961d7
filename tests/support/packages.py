"""The table of docs/reference/packages.md: how large the packages are, and what they depend on.

`WRITE_PACKAGES=1 make release-dry-run` writes it, and the tests of the packages compare it.
"""

from __future__ import annotations

import fcntl
import os
from typing import NamedTuple

from support.documents import table
from support.reference import REFERENCE

PAGE = REFERENCE / "packages.md"
TOLERANCE = 0.2
"""How much sizes and numbers of dependencies may differ, because those have releases of their own."""


class Package(NamedTuple):
    """A row.

    Attributes:
        name: of the package.
        kib: the size of the file that is downloaded, in KiB.
        direct: how many packages it names as its dependencies.
        installed: how many packages are installed with it.
    """

    name: str
    kib: int
    direct: int
    installed: int


def check_row(package: Package) -> None:
    """Compare a package with its row; with WRITE_PACKAGES, write the row.

    Raises:
        AssertionError: the row is missing, or says something else.
    """
    if os.environ.get("WRITE_PACKAGES"):
        _write(package)
    rows = {row[0]: Package(row[0], *map(int, row[1:])) for row in table(PAGE.read_text())}
    said = rows[package.name]
    fits = (
        said.direct == package.direct
        and _is_close(said.kib, package.kib)
        and _is_close(said.installed, package.installed)
    )
    assert fits, f"{package}: `WRITE_PACKAGES=1 make release-dry-run` renews {PAGE.name}"


def _is_close(said: int, seen: int) -> bool:
    return abs(said - seen) <= max(1, TOLERANCE * seen)


def _write(package: Package) -> None:
    """Replace one row, while other tests may replace others."""
    with PAGE.open("r+") as page:
        fcntl.flock(page, fcntl.LOCK_EX)
        row = f"| {' | '.join(map(str, package))} |\n"
        lines = [row if line.startswith(f"| {package.name} |") else line for line in page.readlines()]
        page.seek(0)
        page.writelines(lines)
        page.truncate()
