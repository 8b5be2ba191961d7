"""The checksums of a release."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from support.packing import files, write_checksums

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    for name in files():
        (tmp_path / name).write_text(name)
    return tmp_path


def test_the_checksums_are_those_of_all_files(dist: Path) -> None:
    write_checksums(dist)
    write_checksums(dist)  # their own file is none of them
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    checked = subprocess.run(check, cwd=dist, capture_output=True, check=True)
    assert len(checked.stdout.splitlines()) == len(files())


def test_a_missing_file_and_one_too_many_are_named(dist: Path) -> None:
    missing = min(files())
    (dist / missing).rename(dist / "other.txt")
    with pytest.raises(SystemExit, match=rf"missing: \['{missing}'\]; not part of a release: \['other.txt'\]"):
        write_checksums(dist)
