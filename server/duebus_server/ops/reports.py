"""What the processes of one server tell their parent, so that it can answer probes and scrapes for all of them.

Each has a socket to the parent. A process that listens sends an empty line. From then on it answers requests: a line
with the length of a pickled ``Request``, and that. The answer begins with a line of the request's name and its own
length, which is 0 if it failed. Requests with different names are answered in any order; there is one of each name at a
time.
"""

from __future__ import annotations

import asyncio
import pickle
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily

from duebus_server.ops.merging import counted, merged
from duebus_server.ops.metrics import Report, encoded

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

    from prometheus_client.core import Metric

    from duebus_server.ops.metrics import Groups, Scrape

    Answer = Callable[..., Awaitable[Any]]

ALIVE, READY, METRICS = "alive", "ready", "metrics"

PROBE_S = 1.5
"""How long a probe waits for a process. What a process checks for it takes at most 1.3 s."""

SCRAPE_S = 3.0
"""How long a scrape waits for a process. Its gauges take at most 2 s."""

log = structlog.get_logger()


class Request(NamedTuple):
    """What the parent asks for.

    Attributes:
        name: one of the answers that the process has.
        arguments: those of the answer.
    """

    name: str
    arguments: tuple[Any, ...] = ()


async def answer_parent(channel: socket.socket, answers: Mapping[str, Answer]) -> asyncio.Task[None]:
    """Tell the parent that this process listens. The task that is returned answers its requests until it has ended.

    Args:
        channel: the socket to the parent.
        answers: what it may ask for, by name.
    """
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    writer.write(b"\n")
    return asyncio.create_task(_answer_all(reader, writer, answers), name="answer parent")


async def _answer_all(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Mapping[str, Answer]
) -> None:
    async def answer(request: Request) -> None:
        try:
            body = pickle.dumps(await answers[request.name](*request.arguments))
        except Exception:  # one request that fails must not end the others
            log.exception("the parent's request failed", request=request.name)
            body = b""
        writer.write(b"%s %d\n%s" % (request.name.encode(), len(body), body))

    with closing(writer):
        async with asyncio.TaskGroup() as answering:
            with suppress(ConnectionError, asyncio.IncompleteReadError):  # the parent has ended
                while size := await reader.readline():
                    request = pickle.loads(await reader.readexactly(int(size)))  # noqa: S301  # from the parent
                    answering.create_task(answer(request))


class Process:
    """A process that listens, as its parent sees it.

    Attributes:
        number: which one, from 0.
        metrics: its last report; empty before the first.
        is_late: whether it did not answer the last scrape in time.
    """

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.metrics = Report([], [])
        self.is_late = False
        self._reader = reader
        self._writer = writer
        self._asked: dict[str, asyncio.Future[Any]] = {}

    async def ask(self, name: str, within_s: float, *arguments: Any) -> Any:
        """The answer of the process. While one is awaited, the next caller waits for the same.

        Raises:
            TimeoutError: it is late, or has failed to answer.
            EOFError: the process has ended.
        """
        if name not in self._asked:
            self._asked[name] = asyncio.get_running_loop().create_future()
            body = pickle.dumps(Request(name, arguments))
            self._writer.write(b"%d\n%s" % (len(body), body))
        async with asyncio.timeout(within_s):
            return await asyncio.shield(self._asked[name])

    async def read(self) -> None:
        """Take its answers until it has ended."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await self._reader.readline():
                name, size = line.decode().split()
                body = await self._reader.readexactly(int(size))
                if body:
                    self._asked.pop(name).set_result(pickle.loads(body))  # noqa: S301  # from our own process
                else:
                    _fail(self._asked.pop(name), TimeoutError())
        for asked in self._asked.values():
            _fail(asked, EOFError())


class Reports:
    """Answers for all processes of a server.

    Args:
        count: how many processes there are when all run.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[Process] = []
        # The numbers of those that have listened; all of them once the server has started.
        self._listened: set[int] = set()
        # What those that have ended had counted.
        self._ended: list[Metric] = []
        self._starts = 0

    async def follow(self, number: int, channel: socket.socket) -> None:
        """Ask a process that was just started too, from when it listens until it ends."""
        self._starts += 1
        reader, writer = await asyncio.open_unix_connection(sock=channel)
        with closing(writer):
            with suppress(ConnectionError):
                if not await reader.readline():
                    return
            process = Process(number, reader, writer)
            self._listened.add(number)
            self._processes.append(process)
            await process.read()
            self._processes.remove(process)
            self._ended = merged([self._ended, counted(process.metrics.families)])

    async def not_alive(self) -> str | None:
        """Why the server must be replaced: a process accepts no calls. A process that is being restarted is none."""
        return await self._why(ALIVE)

    async def not_ready(self) -> str | None:
        """Why the server can't take work: a process that listens is not ready, or not all have started."""
        return await self._why(READY)

    async def _why(self, name: str) -> str | None:
        if len(self._listened) < self._count:
            return f"{len(self._listened)} of {self._count} processes have started"
        if not self._processes:
            return "no process accepts calls"
        reasons = await asyncio.gather(*[_reason(process, name) for process in self._processes])
        return next((reason for reason in reasons if reason is not None), None)

    async def scrape(self, accept: str = "") -> Scrape:
        """The metrics of all processes as one, in the format of the header ``accept``.

        One process reads the gauges: the first that answered the last scrape.
        """
        reader = next((process for process in self._processes if not process.is_late), None)
        groups = reader.metrics.groups if reader else None
        asked = [_refresh(process, None if process is reader else groups) for process in self._processes]
        await asyncio.gather(*asked)
        reports = [process.metrics.families for process in self._processes]
        return encoded(merged([*reports, self._ended, self._own()]), accept)

    def _own(self) -> list[Metric]:
        """What the parent itself uses, and what it has done."""
        restarts = CounterMetricFamily("duebus_process_restarts", "Processes that ended and were started again.")
        restarts.add_metric((), max(0, self._starts - self._count))
        return [*ProcessCollector(registry=None).collect(), restarts]


def _fail(asked: asyncio.Future[Any], error: Exception) -> None:
    """Set the error of a request, whether or not anyone still waits for its answer."""
    asked.set_exception(error)
    asked.exception()


async def _reason(process: Process, name: str) -> str | None:
    try:
        reason: str | None = await process.ask(name, PROBE_S)
    except TimeoutError:
        reason = "does not answer"
    except EOFError:  # it has ended meanwhile, and takes no calls
        return None
    return None if reason is None else f"process {process.number}: {reason}"


async def _refresh(process: Process, groups: Groups | None) -> None:
    """Renew the report of a process, if it answers in time.

    One that is late keeps its last figures once; then only what it had counted, since another one reads the gauges.
    """
    try:
        process.metrics = await process.ask(METRICS, SCRAPE_S, groups)
        process.is_late = False
    except (TimeoutError, EOFError):
        if process.is_late:
            process.metrics = Report(counted(process.metrics.families), [])
        process.is_late = True
        log.warning("a process is left out of the metrics", process=process.number)
