"""Counts the commands that reach Redis during a block."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

END = "no more commands are counted"


@contextmanager
def watched(client: Any) -> Iterator[Counter[str]]:
    """The commands that clients send during the block, by name. Commands that scripts call are not counted."""
    commands: Counter[str] = Counter()
    with client.monitor() as monitor, ThreadPoolExecutor(1) as thread:
        done = thread.submit(_count, monitor, commands)
        try:
            yield commands
        finally:
            client.echo(END)
            done.result()


def _count(monitor: Any, commands: Counter[str]) -> None:
    for seen in monitor.listen():
        if END in seen["command"]:
            return
        if seen["client_type"] != "lua":
            commands[seen["command"].split()[0]] += 1
