"""Dispatches many events from a file, a pipe or one payload, with a progress bar and a summary."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from duebus._core.enums import Engine
from duebus._core.model import Dispatched, NewEvent
from duebus.cli.bulk import Account, LineRange, dispatch_batches
from duebus.cli.explanations import explain
from duebus.cli.failures import STATUS_FAILED, STATUS_INTERRUPTED, CommandFailed
from duebus.cli.lines import BATCH_EVENTS, BadLineError, Batch, Line, read_batches
from duebus.cli.progress import LoadProgress, load_progress
from duebus.cli.session import Session
from duebus.cli.spans import format_count, format_span
from duebus.client import Client
from duebus.errors import DueBusError


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The topic and the options that the events have in common."""

    topic: str
    template: NewEvent
    engines: tuple[Engine, ...]
    require_subscriber: bool

    def send(self, client: Client, events: list[NewEvent]) -> list[Dispatched]:
        """Dispatches all of the events or none."""
        return client.dispatch_many(
            self.topic, events, engines=self.engines, require_subscriber=self.require_subscriber
        )

    def send_lines(self, client: Client, lines: Batch) -> list[Dispatched]:
        """Dispatches all of the lines or none. Each has its number in its id, so that sending it again adds nothing."""
        template = self.template
        return self.send(
            client, [replace(template, data=line.payload, id=f"{template.id}-{line.number}") for line in lines]
        )

    def with_id(self) -> "Target":
        """The same target, with a new unique id if none was given."""
        return replace(self, template=replace(self.template, id=self.template.id or f"load-{uuid4().hex[:12]}"))


def dispatch_copies(session: Session, target: Target, payload: bytes, count: int) -> None:
    """Dispatches the same payload several times."""
    target = target.with_id()
    numbers = range(1, count + 1)
    batches = (
        [Line(number, payload) for number in numbers[start : start + BATCH_EVENTS]]
        for start in range(0, count, BATCH_EVENTS)
    )
    with load_progress(target.topic, events=count) as progress:
        load = _load(session, target, batches, progress)
    _report(session, target, load, noun="event")


def dispatch_file(session: Session, target: Target, name: str) -> None:
    """Dispatches each line of a file; `-` is standard input.

    A file is read completely first, and nothing is sent if a line is wrong. Lines of a pipe are sent as they arrive.

    Raises:
        CommandFailed: the file can't be read, or not everything was stored; its text says how much was.
    """
    target = target.with_id()
    try:
        with _opened(name) as stream:
            _check(stream, name)
        with _opened(name) as stream, load_progress(target.topic, size=_size(stream)) as progress:
            load = _load(session, target, read_batches(stream, progress.on_bytes), progress)
    except OSError as error:
        raise CommandFailed(f"{name}: {(error.strerror or str(error)).lower()}") from error
    _report(session, target, load, noun="line", source=f"{name}: ")


def _check(stream: BinaryIO, name: str) -> None:
    if not stream.seekable():
        return
    try:
        for _ in read_batches(stream, lambda _: None):
            pass
    except BadLineError as error:
        raise CommandFailed(f"{name}: line {error.number}: {error}; nothing was dispatched") from error


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
    else:
        with Path(name).open("rb") as stream:
            yield stream


def _size(stream: BinaryIO) -> int | None:
    """The size in bytes; None for a pipe."""
    return os.fstat(stream.fileno()).st_size or None


@dataclass(frozen=True, slots=True)
class _Load:
    account: Account
    seconds: float


def _load(session: Session, target: Target, batches: Iterable[Batch], progress: LoadProgress) -> _Load:
    with session.client() as client:
        began = time.monotonic()
        account = dispatch_batches(batches, lambda batch: target.send_lines(client, batch), progress.on_stored)
        return _Load(account, time.monotonic() - began)


def _report(session: Session, target: Target, load: _Load, *, noun: str, source: str = "") -> None:
    account = load.account
    if account.failure is not None or account.interrupted:
        again = f"; run it again with --id {target.template.id} to add only what is missing"
        failure = f"{source}{_failure(session, account, noun)}{again if account.stored or account.doubtful else ''}"
        raise CommandFailed(failure, status=STATUS_INTERRUPTED if account.interrupted else STATUS_FAILED)
    session.out.record(
        {
            "topic": target.topic,
            "dispatched": account.dispatched,
            "duplicates": account.duplicates,
            "seconds": round(load.seconds, 3),
        }
    )
    rate = f" ({account.dispatched / load.seconds:,.0f}/s)" if account.dispatched else ""
    took = format_span(timedelta(seconds=load.seconds))
    known = f"; the topic had {account.duplicates:,} of them already" if account.duplicates else ""
    session.out.line(f"dispatched {format_count(account.dispatched, 'event')} to {target.topic} in {took}{rate}{known}")


def _failure(session: Session, account: Account, noun: str) -> str:
    what = "interrupted"
    if account.failure is not None:
        error = account.failure.error
        reason = explain(error, session.server) if isinstance(error, DueBusError) else str(error)
        what = f"{noun}{_numbers([account.failure.lines])}: {reason}"
    stored = f": {noun}{_numbers(account.stored)}" if account.stored else ""
    doubtful = f"; unknown for {noun}{_numbers(account.doubtful)}" if account.doubtful else ""
    return f"{what}; {format_count(account.dispatched, 'event') if stored else 'nothing'} dispatched{stored}{doubtful}"


def _numbers(ranges: list[LineRange]) -> str:
    """The numbers after a noun: ` 7`, `s 1 to 1000 and 1501 to 2000`."""
    texts = [f"{first}" if first == last else f"{first} to {last}" for first, last in ranges]
    plural = len(ranges) > 1 or ranges[0][0] != ranges[0][1]
    return f"{'s' if plural else ''} {' and '.join(texts)}"
