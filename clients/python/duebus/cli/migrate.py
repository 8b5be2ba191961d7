"""`duebus migrate`, and the import of exported events into Redis."""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from duebus.cli import options, server_options
from duebus.cli.failures import STATUS_MISUNDERSTOOD, CommandFailed
from duebus.cli.output import Output
from duebus.cli.server_options import Globals

try:
    import structlog
    from duebus_server.components import make_redis
    from duebus_server.config import SettingsError, load_settings
    from duebus_server.domain.clock import SystemClock
    from duebus_server.domain.errors import DueBusError
    from duebus_server.domain.transfer import Held
    from duebus_server.engine.local.journal.contents import exported
    from duebus_server.engine.redis.importing import Imported, import_held
    from duebus_server.engine.redis.partitioned.engine import PartitionedEngine
    from duebus_server.ops.logs import configure_logs
except ModuleNotFoundError as error:
    if (error.name or "").startswith("duebus"):
        raise
    raise CommandFailed("migrate needs the extra server: pip install 'duebus[server]'") from error


def migrate(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Option("--from", metavar="DIR", help="The data directory that a server had.")],
    to: options.ToRedis,
    namespace: options.Namespace = None,
    json: server_options.Json = False,
) -> None:
    """Copy what a data directory holds to Redis: topics, groups, events and schedules.

    Events keep their ids, due times, attempts and histories; a leased one is released. An event that Redis
    already holds is skipped, so the command can be repeated. The directory stays as it is; run no server on it
    afterwards.
    """
    try:
        with exported(directory) as held:
            import_into(to, namespace, held, Output(as_json=json or ctx.ensure_object(Globals).as_json))
    except DueBusError as error:
        raise CommandFailed(str(error)) from error


def import_into(url: str, namespace: str | None, held: Iterable[Held], out: Output) -> None:
    """Store what was exported in Redis, and print how many events that were.

    Raises:
        CommandFailed: a setting is wrong, or Redis refuses something.
    """
    configure_logs("console")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        engine = make_redis(load_settings(_given(url, namespace)), SystemClock())
    except SettingsError as error:
        raise CommandFailed(str(error), status=STATUS_MISUNDERSTOOD) from error
    done = Imported()
    try:
        asyncio.run(_import(engine, held, done))
    except DueBusError as error:
        so_far = f"{done.stored} events were stored before; run it again, and they are skipped"
        raise CommandFailed(f"{error}; {so_far}") from error
    out.record({"stored": done.stored, "skipped": done.skipped})
    out.line(f"stored {done.stored} events, skipped {done.skipped} that were there")


def _given(url: str, namespace: str | None) -> dict[str, str]:
    return {"redis_url": url, **({} if namespace is None else {"namespace": namespace})}


async def _import(engine: PartitionedEngine, held: Iterable[Held], done: Imported) -> None:
    await engine.start()
    try:
        await import_held(engine, held, done)
    finally:
        await engine.stop()
