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

from duebus import Client, Engine, GroupInfo, TopicInfo
from duebus.cli.cells import GROUP_COLUMNS, RATE_COLUMNS, group_cells, rate_cells, with_names
from duebus.cli.output import rich_table
from duebus.cli.session import Session
from duebus.cli.spans import format_count
from duebus.errors import DeadlineExceeded, Unavailable

_EVERY_S = 1.0
# A server that does not answer is said to be silent soon; the next look is another try.
_TIMEOUT = timedelta(seconds=2)
_ANY_WIDTH = 10_000
# The line above the table, the blank ones around it, its heading, and the line below.
_LINES_BESIDE_ROWS = 6


def watch_topics(session: Session, client: Client, engine: Engine | None) -> None:
    """Shows the topics anew each second, until Ctrl-C or SIGTERM; the last table stays on the terminal.

    A server that goes away is waited for.
    """
    console = session.out.console
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The first look may fail as any command does.
    view = View(session.server, _look(client, engine))
    with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(view.shown(console), refresh=True)
            time.sleep(_EVERY_S)
            try:
                view = View(session.server, _look(client, engine))
            except (Unavailable, DeadlineExceeded) as error:
                view = View(session.server, view.topics, view.at, str(error))
    console.print(view.shown(console, whole=True))


def _look(client: Client, engine: Engine | None) -> list[TopicInfo]:
    return list(client.admin.list_topics(engine=engine, page_size=1000, timeout=_TIMEOUT))


@dataclass(frozen=True, slots=True)
class View:
    """What was seen of a server.

    Attributes:
        server: HOST:PORT.
        topics: As they were last seen.
        at: When that was.
        trouble: Why they could not be looked at since then; empty: nothing did.
    """

    server: str
    topics: Sequence[TopicInfo]
    at: datetime = field(default_factory=lambda: datetime.now().astimezone())
    trouble: str = ""

    def shown(self, console: Console, *, whole: bool = False) -> RenderableType:
        """The view as a terminal shows it.

        Args:
            console: The terminal; rates are left out where it is too narrow for them.
            whole: Also the rows that do not fit its height.
        """
        groups = list(with_names(self.topics))
        room = len(groups) if whole else max(1, console.height - _LINES_BESIDE_ROWS)
        parts: list[RenderableType] = [self._title()]
        if groups:
            parts.append(_fitting(console, groups[:room]))
        if len(groups) > room:
            parts.append(Text(f"and {len(groups) - room:,} more, on a taller terminal", style="dim"))
        return Group(*parts)

    def _title(self) -> Text:
        title = Text(f"{self.server}  {self.at:%H:%M:%S}  {format_count(len(self.topics), 'topic')}  ", no_wrap=True)
        if self.trouble:
            return title.append(f"no answer since then: {self.trouble}", style="red")
        return title.append("Ctrl-C ends", style="dim")


def _fitting(console: Console, groups: Sequence[tuple[str, GroupInfo | None]]) -> Table:
    with_rates = [(name, *group_cells(each), *rate_cells(each)) for name, each in groups]
    table = rich_table(("TOPIC", *GROUP_COLUMNS, *RATE_COLUMNS), with_rates)
    if Measurement.get(console, console.options.update_width(_ANY_WIDTH), table).maximum <= console.width:
        return table
    return rich_table(("TOPIC", *GROUP_COLUMNS), [(name, *group_cells(each)) for name, each in groups])
