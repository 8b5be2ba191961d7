"""The table of results matches the tests. A language's column is checked after `test_cases` and `test_load`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from conformance.languages import read_languages
from conformance.parity import FILE

if TYPE_CHECKING:
    from conformance.parity import Results


def test_the_page_has_a_row_for_each_case_and_a_column_for_each_client(results: Results) -> None:
    if os.environ.get("WRITE_PARITY"):
        results.write()
    assert FILE.read_text() == results.page(results.read()), "run 'make parity' and commit"


@pytest.mark.parametrize("language", read_languages())
def test_the_page_says_what_was_seen(language: str, results: Results) -> None:
    seen = {key: cell for key, cell in results.cells().items() if key[0] == language}
    written = results.read()
    assert {key: written.get(key) for key in seen} == seen, "run 'make parity' and commit"
