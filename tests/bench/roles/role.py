"""The protocol of all roles: arguments in, a signal to begin, one line of results out.

A role prints ``ready`` when it is set up, begins when a line comes in, and prints its result as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAYLOAD_BYTES = 200


def now_s() -> float:
    """A clock that all processes of this machine share, in seconds."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def cpu_s() -> float:
    """The CPU time that this process has used, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def begin() -> None:
    """Report that everything is set up, and wait for the signal to begin."""
    print("ready", flush=True)  # noqa: T201  # the protocol
    await asyncio.to_thread(sys.stdin.readline)


def play(role: Callable[..., Awaitable[dict[str, Any]]]) -> None:
    """Run a role with the arguments of its command line, and print its result and the CPU time it took."""
    arguments = json.loads(sys.argv[1])
    result = asyncio.run(_timed(role, arguments))
    print(json.dumps(result), flush=True)  # noqa: T201  # the protocol


async def _timed(role: Callable[..., Awaitable[dict[str, Any]]], arguments: dict[str, Any]) -> dict[str, Any]:
    result = await role(**arguments)
    return {**result, "cpu_s": cpu_s() - result.pop("cpu_began_s", 0.0)}
