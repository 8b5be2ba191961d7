"""What clients have beside the cases, from clients/features.toml, which explains the fields."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from conformance.languages import ROOT

FILE = ROOT / "clients/features.toml"


@dataclass(frozen=True)
class Feature:
    """A row of features.toml.

    Attributes:
        proofs: the test that proves it, by language.
        image: whether `make image-test` runs these tests, and not those that run the clients' own.
    """

    section: str
    name: str
    proofs: dict[str, Proof]
    image: bool


@dataclass(frozen=True)
class Proof:
    """A test.

    Attributes:
        file: relative to the repository's root.
        test: its name in the file.
    """

    file: str
    test: str

    def exists(self) -> bool:
        """Whether the file has a test of that name."""
        path = ROOT / self.file
        return path.is_file() and self.test in path.read_text()


@cache
def read_features() -> tuple[Feature, ...]:
    """Read the file, once."""
    return tuple(_read(**row) for row in tomllib.loads(FILE.read_text())["features"])


def _read(section: str, name: str, *, image: bool = False, **proofs: Any) -> Feature:
    return Feature(section, name, {language: _proof(language, proof) for language, proof in proofs.items()}, image)


def _proof(language: str, proof: str) -> Proof:
    file, _, test = proof.partition(": ")
    return Proof(file if language == "python" else f"clients/{language}/{file}", test)
