"""A real sentinel for tests."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SENTINEL = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor bus 127.0.0.1 {port_of_primary} 1
sentinel down-after-milliseconds bus 500
sentinel failover-timeout bus 3000
"""


@contextmanager
def sentinel_of(folder: Path, primary_port: int, *lines: str) -> Iterator[int]:
    """Runs a sentinel that watches the primary at a port during the block. Yields the sentinel's port."""
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(SENTINEL.format(port=port, folder=folder, port_of_primary=primary_port) + "\n".join(lines))
    with (folder / "sentinel.log").open("wb") as log:
        process = subprocess.Popen(["redis-server", str(config), "--sentinel"], stdout=log, stderr=log, process_group=0)
    try:
        yield port
    finally:
        process.kill()
        process.wait()
