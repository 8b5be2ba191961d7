"""The audit log: who did what to the bus as its operator, and how it ended."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import TYPE_CHECKING

import structlog

from duebus_server.security.errors import unreadable

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Protocol

    class Audit(Protocol):
        """Where an action is recorded."""

        def __call__(self, *, identity: str, verb: str, topic: str, outcome: str, peer: str) -> None:
            """One action: the RPC's name, its topic ("" for none), OK or the reason it failed, the client's address."""


log = structlog.get_logger()


def audit_to_log(*, identity: str, verb: str, topic: str, outcome: str, peer: str) -> None:
    """As lines of the ordinary log."""
    log.info("audit", logger="audit", identity=identity, verb=verb, topic=topic, outcome=outcome, peer=peer)


def audit_to_file(path: Path) -> Audit:
    """As JSON lines at the end of a file, which may be moved away at any time: the next line begins a new one.

    Raises:
        BadFileError: it can't be written to.
    """
    try:
        handler = _Handler(path, encoding="utf-8")
    except OSError as error:
        raise unreadable(path, error) from error

    def record(*, identity: str, verb: str, topic: str, outcome: str, peer: str) -> None:
        fields = {"identity": identity, "verb": verb, "topic": topic, "outcome": outcome, "peer": peer}
        line = json.dumps({"timestamp": datetime.now(UTC).isoformat(), **fields})
        handler.handle(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))

    return record


class _Handler(WatchedFileHandler):
    """Says so in the log when a line could not be written; a full disk ends no call."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        """The action goes to the log instead."""
        log.error("audit log can't be written", file=self.baseFilename, line=record.msg, exc_info=True)
