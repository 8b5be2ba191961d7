"""Servers that must fail to start."""

from __future__ import annotations

import os
import subprocess
import sys

CANNOT_SERVE, WRONG_SETTING = 1, 2


def try_to_start(*flags: str, **environment: str) -> tuple[int, str, str]:
    """Start a server that must fail: its exit status, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "duebus_server", "--listen", "127.0.0.1:0", *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr
