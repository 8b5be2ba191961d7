"""The audit log in a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from duebus_server.security.audit import audit_to_file
from duebus_server.security.errors import BadFileError

if TYPE_CHECKING:
    from pathlib import Path

    from duebus_server.security.audit import Audit


def record(audit: Audit, verb: str) -> None:
    audit(identity="ops", verb=verb, topic="orders", outcome="OK", peer="ipv4:127.0.0.1:1")


def verbs(file: Path) -> list[str]:
    return [json.loads(line)["verb"] for line in file.read_text().splitlines()]


def test_actions_are_appended_as_lines(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    for verb in ("GetTopic", "Stop"):
        record(audit_to_file(file), verb)
    assert verbs(file) == ["GetTopic", "Stop"]
    fields = json.loads(file.read_text().splitlines()[0])
    assert fields.pop("timestamp").endswith("+00:00")
    assert fields == {
        "identity": "ops",
        "verb": "GetTopic",
        "topic": "orders",
        "outcome": "OK",
        "peer": "ipv4:127.0.0.1:1",
    }


def test_a_file_that_was_moved_away_is_created_again(tmp_path: Path) -> None:
    file, moved = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    audit = audit_to_file(file)
    record(audit, "GetTopic")
    file.rename(moved)
    record(audit, "Stop")
    assert (verbs(moved), verbs(file)) == (["GetTopic"], ["Stop"])


def test_a_file_that_can_not_be_written_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"audit.jsonl: no such file or directory$"):
        audit_to_file(tmp_path / "nowhere" / "audit.jsonl")


def test_a_name_can_not_forge_a_log_line(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    names = ("a\nb", "a\u2028b", "a\x85b", "a\x1b[2Jb")
    for name in names:
        audit_to_file(file)(identity=name, verb="Stop", topic=name, outcome="OK", peer="")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["identity"], line["topic"]) for line in lines] == [(name, name) for name in names]
