"""Each client is published with the license of the project."""

from __future__ import annotations

import subprocess

import pytest
from support.documents import ROOT

LICENSE = ROOT / "LICENSE"
COPIES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "clients/**/LICENSE"],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
).stdout.split()


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_the_license_of_the_project(copy: str) -> None:
    assert (ROOT / copy).read_text() == LICENSE.read_text()


def test_each_folder_that_is_packed_by_itself_has_a_copy() -> None:
    go = {"clients/go", "clients/go/otelduebus", "clients/go/duebuscontainer"}
    packed = go | {"clients/rust", "clients/rust/testcontainers"}
    assert {f"{folder}/LICENSE" for folder in packed} <= set(COPIES)
