"""Requests and ids that a topic remembers, to detect duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from duebus_server.engine.local.journal.columns import Columns, joined, split
from duebus_server.engine.local.journal.frames import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.local.journal.columns import ColumnReader


@dataclass(slots=True)
class Answered:
    """A request that is remembered, with its answer.

    Attributes:
        request_id: empty if the request is not remembered.
        identity: see ``DispatchRequest.identity``.
        until_us: until when it is remembered.
        event_ids: the ids of all its events, in request order.
        duplicates: the ids of those that added nothing.
    """

    request_id: str = ""
    identity: int = 0
    until_us: int = 0
    event_ids: Sequence[str] = ()
    duplicates: Sequence[str] = ()


@dataclass(slots=True)
class Remembered:
    """Ids of events that are gone, each with the time until which it is remembered; and answered requests."""

    kind: ClassVar[Kind] = Kind.REMEMBERED

    topic: str
    event_ids: Sequence[str]
    until_us: Sequence[int]
    answers: Sequence[Answered] = ()

    def body(self) -> bytes:
        """See ``Record``."""
        answers = self.answers
        return (
            Columns()
            .texts(self.topic)
            .texts(*self.event_ids)
            .numbers(*self.until_us)
            .texts(*[answer.request_id for answer in answers])
            .numbers(*[answer.identity for answer in answers])
            .numbers(*[answer.until_us for answer in answers])
            .numbers(*[len(answer.event_ids) for answer in answers])
            .texts(*joined([answer.event_ids for answer in answers]))
            .numbers(*[len(answer.duplicates) for answer in answers])
            .texts(*joined([answer.duplicates for answer in answers]))
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> Remembered:
        """The record that has this body."""
        (topic,), event_ids, until_us = reader.texts(), reader.texts(), reader.numbers()
        request_ids, identities, answers_until_us = reader.texts(), reader.numbers(), reader.numbers()
        counts = reader.numbers()
        ids = split(reader.texts(), counts)
        counts = reader.numbers()
        duplicates = split(reader.texts(), counts)
        fields = zip(request_ids, identities, answers_until_us, ids, duplicates, strict=True)
        return cls(topic, event_ids, until_us, [Answered(*each) for each in fields])
