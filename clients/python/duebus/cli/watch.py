"""The live table of `duebus topics --watch`."""

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from duebus._core.admin_model import GroupInfo, TopicInfo
from duebus._core.enums import Engine
from duebus.cli.cells import (
    FOLDED_COLUMNS,
    RATE_COLUMNS,
    group_table,
    problem_lines,
    rate_cells,
    with_names,
)
from duebus.cli.session import Session
from duebus.cli.spans import format_count
from duebus.cli.terminal import rich_table
from duebus.client import Client
from duebus.errors import DeadlineExceeded, Unavailable

_EVERY_S = 1.0
# Short, so that a silent server is reported soon; the next refresh is another try.
_TIMEOUT = timedelta(seconds=2)
_ANY_WIDTH = 10_000
# The line above it and the one below.
_LINES_BESIDE_TABLE = 2
# The usual most: a folded name takes several lines.
_LINES_OF_A_ROW = 4

_Row = tuple[str, GroupInfo | None]


def watch_topics(session: Session, client: Client, engine: Engine | None) -> None:
    """Shows the topics every second, until Ctrl-C or SIGTERM. The last table stays on the terminal.

    If the server goes away, it waits for it to come back.
    """
    console = session.out.console
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The first read fails as any command does.
    view = View(session.server, _read_topics(client, engine, session.timeout))
    with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(view.shown(console), refresh=True)
            time.sleep(_EVERY_S)
            try:
                view = View(session.server, _read_topics(client, engine, _TIMEOUT))
            except (Unavailable, DeadlineExceeded) as error:
                view = View(session.server, view.topics, view.at, str(error))
    console.print(view.shown(console, whole=True))


def _read_topics(client: Client, engine: Engine | None, timeout: timedelta) -> list[TopicInfo]:
    return list(client.admin.list_topics(engine=engine, page_size=1000, timeout=timeout))


@dataclass(frozen=True, slots=True)
class View:
    """The last state of a server that was read.

    Attributes:
        server: HOST:PORT.
        topics: Its topics.
        at: When they were read.
        trouble: Why they could not be read since then; empty if there was no trouble.
    """

    server: str
    topics: Sequence[TopicInfo]
    at: datetime = field(default_factory=lambda: datetime.now().astimezone())
    trouble: str = ""

    def shown(self, console: Console, *, whole: bool = False) -> RenderableType:
        """The view as a terminal shows it.

        Args:
            console: The terminal; rates are left out where it is too narrow for them.
            whole: Include the rows that do not fit into its height.
        """
        rows = list(with_names(self.topics))
        damaged = [Text(line, style="red", no_wrap=True) for line in problem_lines(self.topics)]
        if not rows:
            return Group(self._title(), *damaged)
        fit = len(rows) if whole else _how_many_fit(console, rows, len(damaged))
        parts: list[RenderableType] = [self._title(), *damaged, _table(console, rows[:fit])]
        if fit < len(rows):
            parts.append(Text(f"and {len(rows) - fit:,} more, on a taller terminal", style="dim"))
        return Group(*parts)

    def _title(self) -> Text:
        title = Text(f"{self.server}  {self.at:%H:%M:%S}  {format_count(len(self.topics), 'topic')}  ", no_wrap=True)
        if self.trouble:
            return title.append(f"no answer since then: {self.trouble}", style="red")
        return title.append("Ctrl-C ends", style="dim")


def _how_many_fit(console: Console, rows: Sequence[_Row], lines_above: int) -> int:
    """How many rows fit on the terminal beside the other lines; at least one."""
    fit = min(len(rows), console.height)
    while fit > 1:
        lines = len(console.render_lines(_table(console, rows[:fit])))
        excess = lines + lines_above + _LINES_BESIDE_TABLE - console.height
        if excess <= 0:
            break
        fit = max(1, fit - max(1, excess // _LINES_OF_A_ROW))
    return fit


def _table(console: Console, rows: Sequence[_Row]) -> Table:
    columns, cells = group_table([each for _, each in rows])
    with_rates = [(name, *row, *rate_cells(each)) for (name, each), row in zip(rows, cells, strict=True)]
    table = rich_table(("TOPIC", *columns, *RATE_COLUMNS), with_rates)
    if Measurement.get(console, console.options.update_width(_ANY_WIDTH), table).maximum <= console.width:
        return table
    without = [(name, *row) for (name, _), row in zip(rows, cells, strict=True)]
    return rich_table(("TOPIC", *columns), without, FOLDED_COLUMNS)
