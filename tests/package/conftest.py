"""Where the packages of a release are packed."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def dist() -> Iterator[Path]:
    """The folder that `DIST` names, as `make release-dry-run` does, or else a temporary one."""
    if named := os.environ.get("DIST"):
        Path(named).mkdir(parents=True, exist_ok=True)
        yield Path(named)
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)
