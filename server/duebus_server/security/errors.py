"""Errors of the files that security depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class BadFileError(Exception):
    """A file can't be used. The text is one line that names the file, and the line number if there is one.

    Attributes:
        path: of the file.
    """

    def __init__(self, path: Path, problem: str, line: int | None = None) -> None:
        self.path = path
        super().__init__(f"{path}{'' if line is None else f':{line}'}: {problem}")


def unreadable(path: Path, error: OSError) -> BadFileError:
    """A file that the operating system can't read."""
    return BadFileError(path, (error.strerror or str(error)).lower())
