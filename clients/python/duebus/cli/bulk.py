"""Dispatches many events, several batches at a time, and reports exactly what was stored."""

import re
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from duebus._core.model import Dispatched
from duebus.cli.lines import BadLineError, Batch
from duebus.errors import DeadlineExceeded, DispatcherNotWorking, DueBusError, Unavailable

_IN_FLIGHT = 4
_EVENT_INDEX = re.compile(r"events\[(\d+)\]")

LineRange = tuple[int, int]
"""The first line and the last."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The lines of the first failure, and why they failed."""

    lines: LineRange
    error: DueBusError | BadLineError


@dataclass(slots=True)
class Account:
    """The result of dispatching the lines.

    Attributes:
        dispatched: How many events were accepted.
        duplicates: How many of them added nothing.
        stored: The lines that are stored.
        doubtful: The lines that may be stored or not: the answer to their batch was lost.
        failure: The first failure; None if nothing failed.
        interrupted: Whether Ctrl-C ended it.
    """

    dispatched: int = 0
    duplicates: int = 0
    stored: list[LineRange] = field(default_factory=list)
    doubtful: list[LineRange] = field(default_factory=list)
    failure: Failure | None = None
    interrupted: bool = False
    _follows: bool = field(default=False, repr=False)

    def add_stored(self, batch: Batch, results: list[Dispatched]) -> None:
        """Add a stored batch. Batches are added in the order of their lines."""
        self.dispatched += len(results)
        self.duplicates += sum(each.duplicate for each in results)
        first = self.stored.pop()[0] if self._follows else batch[0].number
        self.stored.append((first, batch[-1].number))
        self._follows = True

    def add_failed(self, batch: Batch, error: DueBusError) -> None:
        """Add a failed batch. It may be stored nevertheless."""
        self._follows = False
        if _is_doubtful(error):
            self.doubtful.append((batch[0].number, batch[-1].number))
        if self.failure is None:
            self.failure = Failure(_failed_lines(batch, error), error)

    def add_bad_line(self, error: BadLineError) -> None:
        """Add a line that is in no batch."""
        if self.failure is None:
            self.failure = Failure((error.number, error.number), error)


def _is_doubtful(error: DueBusError) -> bool:
    return isinstance(error, Unavailable | DeadlineExceeded) and not isinstance(error, DispatcherNotWorking)


def _failed_lines(batch: Batch, error: DueBusError) -> LineRange:
    """The one line that the error names, or else the whole batch."""
    for violation in error.field_violations:
        named = _EVENT_INDEX.match(violation.field)
        if named and int(named[1]) < len(batch):
            number = batch[int(named[1])].number
            return number, number
    return batch[0].number, batch[-1].number


def dispatch_batches(
    batches: Iterable[Batch],
    send: Callable[[Batch], list[Dispatched]],
    on_stored: Callable[[list[Dispatched]], object],
) -> Account:
    """Sends batches until there are no more or one fails, and waits for those that are being sent.

    Args:
        batches: In the order of their lines.
        send: Dispatches one batch, all or nothing; called on several threads.
        on_stored: Called with the result of each batch that is stored.

    Returns:
        The account; a second Ctrl-C raises KeyboardInterrupt instead.
    """
    account = Account()
    bad_line: BadLineError | None = None
    waiting: deque[tuple[Batch, Future[list[Dispatched]]]] = deque()

    def settle_oldest() -> None:
        batch, sent = waiting[0]
        error = sent.exception()
        # Only now: a Ctrl-C that ends the wait must not lose the batch.
        waiting.popleft()
        if isinstance(error, DueBusError):
            account.add_failed(batch, error)
        else:
            results = sent.result()
            account.add_stored(batch, results)
            on_stored(results)

    with ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="dispatch") as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(send, batch)))
                if len(waiting) == _IN_FLIGHT:
                    settle_oldest()
                if account.failure:
                    break
        except BadLineError as error:
            bad_line = error
        except KeyboardInterrupt:
            account.interrupted = True
        while waiting:
            settle_oldest()
    if bad_line is not None:
        account.add_bad_line(bad_line)
    return account
