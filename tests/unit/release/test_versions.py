"""Every package has the same version, and the changelog knows it."""

from __future__ import annotations

import re
import shutil
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from support import versions
from support.documents import ROOT
from support.versions import PLACES, version, versions_in

if TYPE_CHECKING:
    from pathlib import Path

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
RELEASES = re.findall(r"^## \[(.+)\] - (.+)$", CHANGELOG, re.MULTILINE)
"""The releases of the changelog: version and date, the newest first."""


@pytest.mark.parametrize("file", PLACES)
def test_a_file_has_the_version_of_pyproject(file: str) -> None:
    assert versions_in(file) == {version()}, "run `make version TO=...`"


def test_a_version_is_written_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in PLACES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    monkeypatch.setattr(versions, "ROOT", tmp_path)

    versions.write("1.2.3-rc.4")

    assert all(versions_in(file) == {"1.2.3-rc.4"} for file in PLACES)


@pytest.mark.parametrize("wrong", ["", "1.2", "v1.2.3", "1.2.3-SNAPSHOT", "1.2.3rc1", "1.2.3 "])
def test_what_some_registry_refuses_is_no_version(wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(versions, "ROOT", tmp_path)  # nothing may be written
    with pytest.raises(SystemExit, match="is not a version like"):
        versions.write(wrong)


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    assert RELEASES[0][0] == version()


def test_the_releases_of_the_changelog_are_dated_the_newest_first() -> None:
    dates = [date.fromisoformat(day) for number, day in RELEASES if (number, day) != (version(), "Unreleased")]
    assert all(newer > older for newer, older in pairwise(dates))


@pytest.mark.parametrize("number", [number for number, _ in RELEASES])
def test_a_release_of_the_changelog_has_its_link(number: str) -> None:
    assert re.search(rf"^\[{re.escape(number)}\]: \S+/v{re.escape(number)}$", CHANGELOG, re.MULTILINE)
