"""Tables in Markdown, and the places in documents that they fill."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.report import readable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOTHING = "-"


def cell(values: Sequence[float]) -> str:
    """The median, with the minimum and maximum in brackets."""
    if not values:
        return NOTHING
    middle = readable(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({readable(min(values))} to {readable(max(values))})"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of a header and rows. If the header's first cell is empty, all other columns are figures."""
    header, *rest = rows
    numbers = header[0] == ""
    rule = ["---", *["---:" if numbers else "---" for _ in header[1:]]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rest])


def fill(path: Path, place: str, text: str) -> None:
    """Put a text between the markers ``<!-- PLACE: begin -->`` and ``<!-- PLACE: end -->`` of a document.

    Raises:
        ValueError: the document has no such place.
    """
    begin_marker, end_marker = f"<!-- {place}: begin -->", f"<!-- {place}: end -->"
    before, begin, rest = path.read_text().partition(begin_marker)
    _, end, after = rest.partition(end_marker)
    if not (begin and end):
        raise ValueError(f"{path} has no place for the tables: '{begin_marker}' and below it '{end_marker}'")
    path.write_text(f"{before}{begin_marker}\n\n{text}\n\n{end_marker}{after}")
