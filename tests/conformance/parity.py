"""The table of clients/FEATURE_PARITY.md: which client passes which case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.features import read_features
from conformance.languages import ROOT, Language
from support.documents import table

if TYPE_CHECKING:
    from conformance.cases import Case
    from conformance.features import Feature

FILE = ROOT / "clients/FEATURE_PARITY.md"

UNDER_LOAD = "Under load"
KILLED_UNDER_LOAD = "The server is killed for 5 s, and nothing is lost"
LOAD_ENGINES = {"redis"}
"""The local engine loses its events with the process."""

HEAD = """\
# What each client passes

The cases of the [conformance suite](../tests/conformance/cases.yaml), each on every engine that it applies to.
The rows behind them are of [features.toml](features.toml): the clients' own tests that prove what no case can.
`make parity` runs them all and writes this page. The tests fail if it does not match their results.
Only `make image-test`, which needs Docker, runs the tests of a row that says "in image-test".

"""

Cells = dict[tuple[str, str], str]
"""The cells of the table, by language and case: "yes", "no", "in image-test", or missing if the case was not run."""


class Results:
    """The result of each case on each engine, by language."""

    def __init__(self, languages: dict[str, Language], cases: tuple[Case, ...]) -> None:
        self._languages = languages
        self._sections: dict[str, list[str]] = {}
        for case in cases:
            self._sections.setdefault(case.section, []).append(case.name)
        self._sections[UNDER_LOAD] = [KILLED_UNDER_LOAD]
        for feature in read_features():
            self._sections.setdefault(feature.section, []).append(feature.name)
        self._engines = {case.name: set(case.engines) for case in cases} | {KILLED_UNDER_LOAD: LOAD_ENGINES}
        self._passed: dict[tuple[str, str], dict[str, bool]] = {}
        self._own_tests: dict[str, bool] = {}

    def note(self, language: str, case: str, engine: str, *, passed: bool) -> None:
        """Record the result of a case."""
        self._passed.setdefault((language, case), {})[engine] = passed

    def note_own_tests(self, language: str, *, passed: bool) -> None:
        """Record the result of a client's own tests, which prove its features."""
        self._own_tests[language] = passed

    def cells(self) -> Cells:
        """The cells of the cases that were run on all their engines, and of the features of tested clients."""
        cases = {
            key: "yes" if all(passed.values()) else "no"
            for key, passed in self._passed.items()
            if passed.keys() == self._engines[key[1]]
        }
        features = {
            (language, feature.name): _cell(feature, language, passed=passed)
            for language, passed in self._own_tests.items()
            for feature in read_features()
        }
        return cases | features

    def write(self) -> None:
        """Write the page. Cells of cases that were not run stay as they are."""
        FILE.write_text(self.page(self.read() | self.cells()))

    def page(self, cells: Cells) -> str:
        """The page with only these cells."""
        lines = [_row("case", [each.title for each in self._languages.values()])]
        lines.append("|---" * (len(self._languages) + 1) + "|")
        for section, cases in self._sections.items():
            lines.append(_row(f"**{section}**", ["" for _ in self._languages]))
            lines += [_row(case, [cells.get((name, case), "") for name in self._languages]) for case in cases]
        return HEAD + "\n".join(lines) + "\n"

    def read(self) -> Cells:
        """The cells of the present page."""
        if not FILE.exists():
            return {}
        text = FILE.read_text()
        titles = [cell.strip() for cell in text[text.index("| case") :].splitlines()[0].strip("|").split("|")][1:]
        names = {each.title: name for name, each in self._languages.items()}
        return {
            (names[title], case): cell
            for case, *cells in table(text)
            for title, cell in zip(titles, cells, strict=True)
            if title in names and cell
        }


def _cell(feature: Feature, language: str, *, passed: bool) -> str:
    if language not in feature.proofs:
        return "no"
    if feature.image:
        return "in image-test"
    return "yes" if passed else "no"


def _row(head: str, cells: list[str]) -> str:
    return f"| {' | '.join([head, *cells])} |"
