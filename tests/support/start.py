"""Servers that must fail to start."""

from __future__ import annotations

import os
import subprocess
import sys

from support.forking import Forked

CANNOT_SERVE, WRONG_SETTING = 1, 2
TIMEOUT_S = 180


def try_to_start(*flags: str, **environment: str) -> tuple[int, str, str]:
    """Start a server that must fail: its exit status, standard output and standard error."""
    command = [sys.executable, "-m", "duebus_server", "--listen", "127.0.0.1:0", *flags]
    popen = subprocess.Popen if "--processes" in flags else Forked
    pipe = subprocess.PIPE
    with popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment}) as process:
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    return process.returncode, out, err
