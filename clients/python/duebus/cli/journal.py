"""`duebus journal`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from duebus.cli import options, server_options
from duebus.cli.confirm import confirm
from duebus.cli.failures import STATUS_MISUNDERSTOOD, CommandFailed
from duebus.cli.output import Output
from duebus.cli.server_options import Globals
from duebus.cli.spans import format_moment, format_moment_json

try:
    from duebus_server.domain.errors import DueBusError
    from duebus_server.engine.local.journal.checking import Check
    from duebus_server.engine.local.journal.checking import repair as repair_directory
    from duebus_server.engine.local.journal.checking import verify as verify_directory
    from duebus_server.engine.local.journal.contents import SegmentStats, exported
    from duebus_server.engine.local.journal.contents import stats as stats_of
    from duebus_server.engine.local.journal.importing import import_held
    from duebus_server.engine.local.journal.reading import BadPart

    from duebus.cli import held_lines, held_models
except ModuleNotFoundError as error:
    if (error.name or "").startswith("duebus"):
        raise
    raise CommandFailed("journal needs the extra server: pip install 'duebus[server]'") from error

journal = typer.Typer(
    help="Inspect and repair the data directory of the local engine.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory that the server has as --data-dir.")]


@journal.callback()
def _root() -> None:
    """Inspect and repair the data directory of the local engine."""


@journal.command()
def verify(ctx: typer.Context, directory: Directory, *, json: server_options.Json = False) -> None:
    """Read every record, and say what can't be read. Changes nothing.

    Fails if something is damaged. A last record that a crash cut short is not damage: the next start removes it.
    """
    check = _run(verify_directory, directory)
    out = Output(as_json=json or ctx.ensure_object(Globals).as_json)
    _show(out, check)
    if check.damaged:
        raise CommandFailed(f"{directory} is damaged; 'duebus journal repair {directory}' discards what can't be read")


@journal.command()
def repair(
    ctx: typer.Context, directory: Directory, *, yes: options.Yes = False, json: server_options.Json = False
) -> None:
    """Discard what can't be read, so that a server can start. Asks first.

    If a discarded part holds a dispatch, its events are lost. If it holds an ack, the event is delivered again.
    """
    check = _run(verify_directory, directory)
    bad = check.damaged + check.torn
    if bad and not yes:
        confirm(f"discard {sum(part.size for part in bad)} bytes in {len(bad)} places of {directory}")
    if bad:
        check = _run(repair_directory, directory)
    _show(Output(as_json=json or ctx.ensure_object(Globals).as_json), check, "discarded: " if bad else "")


@journal.command()
def stats(ctx: typer.Context, directory: Directory, *, json: server_options.Json = False) -> None:
    """Show the segments, and how much is still needed.

    Changes nothing.
    """
    found = _run(stats_of, directory)
    out = Output(as_json=json or ctx.ensure_object(Globals).as_json)
    for one in found:
        out.record(
            {
                "segment": one.number,
                "bytes": one.size,
                "live_bytes": one.live,
                "dead_bytes": one.size - one.live,
                "events": one.events,
                "oldest_dispatched_at": None
                if one.oldest_us is None
                else format_moment_json(held_models.moment(one.oldest_us)),
            }
        )
    out.table(("SEGMENT", "BYTES", "LIVE", "DEAD", "EVENTS", "OLDEST"), [*map(_row, found), _total(found)])


@journal.command()
def export(directory: Directory) -> None:
    """Print what the directory holds as JSON lines.

    These are topics, groups, events with their state in each group, and schedules. Ephemeral groups are left out.
    Changes nothing; docs/journal.md describes the lines.
    """
    out = Output(as_json=False)
    with _explained(), exported(directory) as held:
        for line in held_lines.written(held):
            out.line(line)


@journal.command("import")
def import_file(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that export has printed.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="DIR|URL",
            help="A new data directory, or the URL of Redis, as --redis-url of serve. "
            "DUEBUS_REDIS_PASSWORD and so on apply.",
        ),
    ],
    namespace: options.Namespace = None,
    json: server_options.Json = False,
) -> None:
    """Store what export has printed in a new data directory or in Redis. If a line is wrong, nothing is stored.

    An event that Redis already holds is skipped, so the command can be repeated.
    """
    out = Output(as_json=json or ctx.ensure_object(Globals).as_json)
    try:
        for _ in held_lines.read(file):  # the whole file first
            pass
        if "://" in to:
            _import_into_redis(to, namespace, file, out)
        elif namespace is None:
            _import_into_directory(Path(to), file, out)
        else:
            raise CommandFailed("--namespace is for Redis", status=STATUS_MISUNDERSTOOD)
    except held_lines.BadLineError as error:
        raise CommandFailed(str(error)) from error
    except OSError as error:
        raise CommandFailed(f"{error.filename or file}: {(error.strerror or str(error)).lower()}") from error


def _import_into_redis(url: str, namespace: str | None, file: Path, out: Output) -> None:
    from duebus.cli.migrate import import_into  # noqa: PLC0415  # loads the whole server

    import_into(url, namespace, held_lines.read(file), out)


def _import_into_directory(directory: Path, file: Path, out: Output) -> None:
    with _explained():
        stored = import_held(directory, held_lines.read(file))
    out.record({"stored": stored, "skipped": 0})
    out.line(f"stored {stored} events")


T = TypeVar("T")


def _run(work: Callable[[Path], T], directory: Path) -> T:
    with _explained():
        return work(directory)


@contextmanager
def _explained() -> Iterator[None]:
    """Ends the command with the reason if the directory can't be used."""
    try:
        yield
    except DueBusError as error:
        raise CommandFailed(str(error)) from error


def _row(segment: SegmentStats) -> tuple[str, ...]:
    oldest = "" if segment.oldest_us is None else format_moment(held_models.moment(segment.oldest_us))
    numbers = (segment.size, segment.live, segment.size - segment.live, segment.events)
    return (str(segment.number), *map(str, numbers), oldest)


def _total(segments: Sequence[SegmentStats]) -> tuple[str, ...]:
    size, live = sum(one.size for one in segments), sum(one.live for one in segments)
    times = [one.oldest_us for one in segments if one.oldest_us is not None]
    oldest = format_moment(held_models.moment(min(times))) if times else ""
    return ("all", str(size), str(live), str(size - live), str(sum(one.events for one in segments)), oldest)


def _show(out: Output, check: Check, prefix: str = "") -> None:
    out.record(
        {
            "segments": check.segments,
            "records": check.records,
            "torn": [_place(part) for part in check.torn],
            "damaged": [_place(part) for part in check.damaged],
        }
    )
    out.line(f"{check.segments} segments, {check.records} records")
    for part in check.torn:
        out.line(f"{prefix}torn by a crash: {part}")
    for part in check.damaged:
        out.line(f"{prefix}damaged: {part}")


def _place(part: BadPart) -> dict[str, object]:
    return {"file": str(part.path), "offset": part.offset, "bytes": part.size}
