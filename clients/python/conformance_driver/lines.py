"""JSON lines: commands come in on standard input, answers and events go out on standard output."""

import asyncio
import json
import sys
from typing import Any

__all__ = ["Lines"]

_MAX_LINE_BYTES = 8 * 1024 * 1024


class Lines:
    """Both directions. Nothing else may write to standard output."""

    def __init__(self) -> None:
        self._reader = asyncio.StreamReader(limit=_MAX_LINE_BYTES)

    async def open(self) -> None:
        """Starts reading."""
        protocol = asyncio.StreamReaderProtocol(self._reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)

    async def next_command(self) -> dict[str, Any] | None:
        """The next command; None at the end of the input."""
        line = await self._reader.readline()
        return json.loads(line) if line else None

    def answer(self, number: int, result: dict[str, Any]) -> None:
        """A command was carried out."""
        self._write({"id": number, "result": result})

    def refuse(self, number: int, error: dict[str, Any]) -> None:
        """A command failed."""
        self._write({"id": number, "error": error})

    def report(self, event: str, **fields: Any) -> None:
        """Something happened."""
        self._write({"event": event, **fields})

    def _write(self, line: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
