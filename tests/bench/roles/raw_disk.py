"""Writes and syncs batches to a file, and does nothing else: what the disk can do."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from bench.roles.role import begin, cpu_s, now_s, play
from duebus_server.engine.local.journal.disk import Disk

RECORD_BYTES = 60
"""About how much the journal writes of a dispatched event beside its payload."""
ACK_BYTES = 8
"""About how much it writes of an acked event."""


async def write(events: int, batch: int, acks: bool, payload: int = 200) -> dict[str, Any]:
    """Write events in batches, each with one sync.

    Args:
        events: how many.
        batch: how many events are written at once.
        acks: whether the acks of each batch are written too, with a sync of their own.
        payload: the size of each event, in bytes.
    """
    dispatched, acked = os.urandom(batch * (payload + RECORD_BYTES)), os.urandom(batch * ACK_BYTES)
    writes = [dispatched, acked] if acks else [dispatched]
    disk = Disk()
    with tempfile.TemporaryFile() as file:  # on the disk that the servers use
        await begin()
        began_s, cpu_began_s = now_s(), cpu_s()
        end = 0
        for _ in range(0, events, batch):
            for data in writes:
                disk.write(file.fileno(), data, end)
                disk.sync(file.fileno())
                end += len(data)
        return {"began_s": began_s, "ended_s": now_s(), "cpu_began_s": cpu_began_s}


if __name__ == "__main__":
    play(write)
