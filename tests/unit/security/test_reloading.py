"""Files that change while the server runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from duebus_server.security.errors import BadFileError
from duebus_server.security.reloading import Reloading

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE = -1.0


class Numbers:
    """Reads a number from a file, and counts how often."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "number"
        self.reads = 0
        self.write("1")
        self.reloading = Reloading([self.file], self.read, AT_ONCE)

    def write(self, text: str) -> None:
        """Replace a file atomically."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def read(self) -> int:
        self.reads += 1
        try:
            return int(self.file.read_text())
        except ValueError:
            raise BadFileError(self.file, "is no number") from None


@pytest.fixture
def numbers(tmp_path: Path) -> Numbers:
    return Numbers(tmp_path)


def test_a_changed_file_is_read_and_an_unchanged_one_is_not(numbers: Numbers) -> None:
    assert [numbers.reloading.current() for _ in range(3)] == [1, 1, 1]
    assert numbers.reads == 1
    numbers.write("2")
    assert [numbers.reloading.current() for _ in range(3)] == [2, 2, 2]
    assert numbers.reads == 2


def test_a_change_of_the_same_size_and_time_is_noticed(numbers: Numbers) -> None:
    before = numbers.file.stat()
    numbers.write("3")
    os.utime(numbers.file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert numbers.reloading.current() == 3


def test_a_broken_change_keeps_the_old_value_and_is_logged_once(
    numbers: Numbers, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers.write("two")
    assert [numbers.reloading.current() for _ in range(3)] == [1, 1, 1]
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("is no number") == 1
    numbers.write("2")
    assert numbers.reloading.current() == 2


def test_a_missing_file_keeps_the_old_value(numbers: Numbers) -> None:
    numbers.file.unlink()
    assert numbers.reloading.current() == 1
    numbers.write("2")
    assert numbers.reloading.current() == 2


def test_a_link_to_another_file_is_a_change(tmp_path: Path) -> None:
    """Kubernetes updates the files of a secret this way."""
    numbers = Numbers(tmp_path)
    (tmp_path / "other").write_text("7")
    link = tmp_path / "link"
    link.symlink_to(numbers.file)
    reloading = Reloading([link], link.read_text, AT_ONCE)
    other = tmp_path / "other-link"
    other.symlink_to(tmp_path / "other")
    other.replace(link)
    assert reloading.current() == "7"


def test_files_are_checked_at_limited_intervals(numbers: Numbers) -> None:
    seldom = Reloading([numbers.file], numbers.read, 3_600)
    numbers.write("2")
    assert seldom.current() == 1


def test_a_file_that_is_broken_at_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="no such file or directory"):
        Reloading([tmp_path / "nothing"], lambda: 1)
