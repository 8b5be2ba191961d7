"""`duebus subscribe`."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from duebus._core.delivery import Delivery
from duebus._core.enums import Engine
from duebus.aio import Client
from duebus.cli import options
from duebus.cli.explanations import explained
from duebus.cli.follow import Follower
from duebus.cli.output import Output, clean, headline, note, payload_text
from duebus.cli.records import delivery_record
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_span


@connected
def subscribe(
    session: Session,
    topic: options.Topic,
    group: Annotated[
        str,
        typer.Option(
            "--group",
            "-g",
            metavar="NAME",
            help="Take the events of this group, shared with its workers. Default: only look, and take "
            "no events from others.",
            show_default=False,
        ),
    ] = "",
    no_ack: Annotated[
        bool,
        typer.Option(
            "--no-ack",
            help="With --group: the events are held until this ends, which keeps them from the group's other workers, "
            "and then released.",
        ),
    ] = False,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, metavar="N", help="Stop after this many events.")
    ] = None,
    engine: options.OneEngine = None,
) -> None:
    """Print events as they become due.

    It shows what is dispatched from now on, without taking anything from any worker. With --group it is a worker of
    that group, which lasts: each event is acked once it is printed.

    It runs until Ctrl-C, and reconnects if the connection is lost.
    """
    session.probe()
    with explained(session.server):
        asyncio.run(_subscribe(session, topic, group, engine, no_ack=no_ack, count=count))


async def _subscribe(
    session: Session, topic: str, group: str, engine: Engine | None, *, no_ack: bool, count: int | None
) -> None:
    async with Client(session.server, timeout=session.timeout, **session.security) as client:
        follower = Follower(
            client,
            topic,
            group=group,
            engine=engine,
            consumer=f"duebus-cli-{socket.gethostname()}-{os.getpid()}",
            show=lambda delivery, at: _show(session.out, delivery, at),
            note=note,
            keep=no_ack,
            count=count,
        )
        following = asyncio.create_task(follower.run())
        with _ends_on_signals(following):
            await asyncio.wait((following,))
        if not following.cancelled():
            following.result()


@contextmanager
def _ends_on_signals(task: asyncio.Task[None]) -> Iterator[None]:
    """The first signal ends the task cleanly, a second one the process."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        task.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _show(out: Output, delivery: Delivery, received_at: datetime) -> None:
    if out.as_json:
        out.record(delivery_record(delivery, received_at))
        return
    late = format_span(received_at - delivery.deliver_at)
    parts: list[str | Text] = [
        Text(received_at.astimezone().strftime("%H:%M:%S.%f")[:-3], style="dim"),
        "  ",
        payload_text(delivery.data, delivery.content_type),
        Text(f"  {late} late", style="green" if delivery.attempt == 1 else "yellow"),
    ]
    parts += [f"  {clean(name)}={clean(value)}" for name, value in sorted(delivery.attributes.items())]
    if delivery.attempt > 1:
        parts.append(Text(f"  attempt {delivery.attempt}: {headline(delivery.last_error)}", style="yellow"))
    parts.append(Text(f"  {clean(delivery.event_id)}", style="dim"))
    out.line(*parts)
