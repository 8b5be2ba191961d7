"""``python -m fuzz.counting_server``: a server that logs its number of tasks on SIGUSR2."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from duebus_server.__main__ import main


def count_tasks(_signal: int, _frame: object) -> None:
    """A handler; signals are handled in the main thread, where the event loop runs."""
    os.write(sys.stderr.fileno(), f"tasks={len(asyncio.all_tasks())}\n".encode())


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, count_tasks)
    sys.exit(main())
