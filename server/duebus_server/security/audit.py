"""The audit log: what operators did, who changed schedules, and with what result."""

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
        """Records an action."""

        def __call__(
            self, *, identity: str, verb: str, topic: str, outcome: str, peer: str, schedule: str = ""
        ) -> None:
            """Record an RPC: who called it, its topic and its schedule (empty for none), OK or why it failed, the
            client's address.
            """


log = structlog.get_logger()


def audit_to_log(*, identity: str, verb: str, topic: str, outcome: str, peer: str, schedule: str = "") -> None:
    """Record an action as a line of the ordinary log."""
    log.info("audit", logger="audit", **_fields(identity, verb, topic, schedule, outcome, peer))


def audit_to_file(path: Path) -> Audit:
    """Record actions as JSON lines in a file. It may be moved away at any time; the next line begins a new file.

    Raises:
        BadFileError: it can't be written to.
    """
    try:
        handler = _Handler(path, encoding="utf-8")
    except OSError as error:
        raise unreadable(path, error) from error

    def record(*, identity: str, verb: str, topic: str, outcome: str, peer: str, schedule: str = "") -> None:
        fields = _fields(identity, verb, topic, schedule, outcome, peer)
        line = json.dumps({"timestamp": datetime.now(UTC).isoformat(), **fields})
        handler.handle(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))

    return record


def _fields(identity: str, verb: str, topic: str, schedule: str, outcome: str, peer: str) -> dict[str, str]:
    of_schedule = {"schedule": schedule} if schedule else {}
    return {"identity": identity, "verb": verb, "topic": topic, **of_schedule, "outcome": outcome, "peer": peer}


class _Handler(WatchedFileHandler):
    """Logs a line that can't be written to the file. A full disk must not fail a call."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        """The action goes to the log instead."""
        log.error("audit log can't be written", file=self.baseFilename, line=record.msg, exc_info=True)
