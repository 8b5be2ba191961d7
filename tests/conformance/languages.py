"""The clients that the suite tests, from languages.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD_TIMEOUT_S = 1_200


@dataclass(frozen=True)
class Language:
    """A row of languages.toml, which explains the fields."""

    name: str
    title: str
    tools: tuple[str, ...]
    build: tuple[str, ...]
    driver: tuple[str, ...]
    bench: tuple[str, ...] = ()

    @property
    def missing_tools(self) -> list[str]:
        """The programs of its toolchain that are not installed."""
        return [tool for tool in self.tools if shutil.which(tool) is None]

    def require_tools(self) -> None:
        """Skip the test if its toolchain is missing; in CI, fail it."""
        if not self.missing_tools:
            return
        reason = f"{self.title} is skipped; missing: {', '.join(self.missing_tools)}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)

    def build_driver(self) -> None:
        """Build the driver, if necessary."""
        done = subprocess.run(
            self.build, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
        if done.returncode:
            pytest.fail(f"{' '.join(self.build)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}", pytrace=False)


def read_languages() -> dict[str, Language]:
    """All of them, in order."""
    registry = tomllib.loads((ROOT / "tests/conformance/languages.toml").read_text())
    return {
        name: Language(name, row["title"], *(tuple(row[key]) for key in ("tools", "build", "driver", "bench")))
        for name, row in registry.items()
    }
