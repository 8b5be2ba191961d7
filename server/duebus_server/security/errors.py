"""What is wrong with a file that security rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class BadFileError(Exception):
    """A file can't be used. Its text is one line that names the file, and the line in it where there is one."""

    def __init__(self, path: Path, problem: str, line: int | None = None) -> None:
        super().__init__(f"{path}{'' if line is None else f':{line}'}: {problem}")


def unreadable(path: Path, error: OSError) -> BadFileError:
    """A file that the system does not let us read."""
    return BadFileError(path, (error.strerror or str(error)).lower())
