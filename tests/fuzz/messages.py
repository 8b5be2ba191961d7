"""Random requests for any method, from its descriptor: some are plausible, some have wrong values, some are broken."""

from __future__ import annotations

import time
from collections import deque
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

from google.protobuf import message_factory

if TYPE_CHECKING:
    from random import Random

    from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
    from google.protobuf.message import Message

STRINGS: dict[str, tuple[str, ...]] = {
    "topic": ("orders", "mail", "a", "invoice.created", "x" * 255),
    "group": ("", "workers", "audit", "default"),
    "consumer": ("", "consumer-1"),
    "request_id": ("", "request-1", "request-2"),
    "content_type": ("", "application/json", "text/plain; charset=utf-8"),
    "id": ("", "event-1", "event-2"),
    "event_id": ("event-1", "event-2"),
    "error": ("", "ValueError: no such order"),
    "page_token": ("",),
    "service": ("", "duebus.v1.EventBus", "externalscaler.ExternalScaler"),
    "file_by_filename": ("duebus/v1/event_bus.proto", "google/protobuf/duration.proto"),
    "file_containing_symbol": ("duebus.v1.EventBus", "duebus.v1.Event.data"),
    "targetBacklog": ("1", "100"),
    "engine": ("local", "redis"),
    "metricName": ("backlog",),
}
"""Plausible values, by the names of fields and of KEDA's metadata."""

SAME = {
    "lease_tokens": "lease_token",
    "held_lease_tokens": "lease_token",
    "event_ids": "event_id",
    "duplicate_event_ids": "event_id",
    "next_page_token": "page_token",
}
"""Other names of the same things."""

JUNK_STRINGS = (
    "",
    "\0",
    "\x1b[2J\x1b]0;title\x07",
    "\r\nset-cookie: a=b",
    "../../etc/passwd",
    "{}",
    "{a}:*?[b]",
    "*",
    "%s%n%d",
    "größe-名-🎉",
    "\u202e\u2066\ufeff\ufffe",
    "e\u0301" * 300,
    "9" * 5_000,
    "-1",
    "1e400",
    "NaN",
    "x" * 256,
    "x" * 70_000,
)
KNOWN = 200
"""How many values of each name are remembered from answers."""

JUNK_NUMBERS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -1, -(2**31), -(2**63))
JUNK_FLOATS = (0.0, -1.0, 1e308, 5e-324, float("inf"), float("nan"))
JUNK_SECONDS = (0, 1, -1, 315_576_000_000, -315_576_000_000, 253_402_300_799, -62_135_596_800, 2**63 - 1, -(2**63))
JUNK_NANOS = (0, 1, 999_999_999, 1_000_000_000, -1, -999_999_999, 2**31 - 1, -(2**31))
JUNK_SIZES = (0, 1, 200, 5_000, 70_000, 1 << 20, (1 << 20) + 1)
JUNK_COUNTS = (0, 100, 1_001)
LARGE = 10_000
"""Bytes of a message that is not repeated."""

WILDNESS = (0.0, 0.0, 0.02, 0.1, 0.5)
"""The share of wrong values; each message uses one of these."""

BROKEN = 0.1
"""The share of messages whose bytes are damaged."""

DEEPEST = 4


class Messages:
    """Makes requests, and remembers lease tokens, event ids and page tokens from answers for later requests.

    Args:
        random: decides everything.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._known: dict[str, deque[str]] = {}
        self._wildness = 0.0

    def request(self, method: MethodDescriptor) -> bytes:
        """One request of a method, encoded."""
        self._wildness = self._random.choice(WILDNESS)
        encoded: bytes = self._message(method.input_type, 0).SerializePartialToString()
        return self._damage(encoded) if self._random.random() < BROKEN else encoded

    def learn(self, answer: Message) -> None:
        """Remember the values in an answer."""
        for field, value in answer.ListFields():
            values = list(islice(value, 20)) if field.is_repeated else [value]
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                for each in values:
                    self.learn(each)
            elif (name := SAME.get(field.name, field.name)) in ("lease_token", "event_id", "page_token"):
                self._known.setdefault(name, deque(maxlen=KNOWN)).extend(values)

    # --- plausible values ----------------------------------------------------------------------------------------

    def _message(self, descriptor: Any, depth: int) -> Message:
        message = message_factory.GetMessageClass(descriptor)()
        if descriptor.full_name in ("google.protobuf.Duration", "google.protobuf.Timestamp"):
            self._fill_time(message, descriptor.name)
            return message
        for field in descriptor.fields:
            if self._random.random() < (0.95 if field.name in ("topic", "scaledObjectRef") else 0.5):
                self._fill(message, field, depth)
        return message

    def _fill(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._fill_map(getattr(message, field.name))
        elif field.message_type is not None:
            self._fill_message(message, field, depth)
        elif field.is_repeated:
            getattr(message, field.name).extend([self._value(field) for _ in range(self._count())])
        else:
            setattr(message, field.name, self._value(field))

    def _fill_message(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        if depth == DEEPEST:
            return
        made = self._message(field.message_type, depth + 1)
        if field.is_repeated:
            count = 1 if made.ByteSize() > LARGE else self._count()
            getattr(message, field.name).extend(repeat(made, count))
        else:
            getattr(message, field.name).CopyFrom(made)

    def _fill_map(self, found: Any) -> None:
        plausible = ("topic", "group", "engine", "targetBacklog", "metricName")
        for name in self._random.sample(plausible, self._random.randrange(len(plausible) + 1)):
            key = self._junk_string() if self._is_wild() else name
            found[key] = self._string(name)

    def _fill_time(self, message: Any, kind: str) -> None:
        if self._is_wild():
            message.seconds = self._random.choice(JUNK_SECONDS)
            message.nanos = self._random.choice(JUNK_NANOS)
            return
        now = time.time_ns() // 1_000_000_000 if kind == "Timestamp" else 0
        message.seconds = now + self._random.choice((0, 0, 1, 30, 3600))
        message.nanos = self._random.choice((0, 1_000_000, 500_000_000))

    def _count(self) -> int:
        return self._random.choice(JUNK_COUNTS) if self._is_wild() else self._random.randint(1, 3)

    def _value(self, field: FieldDescriptor) -> Any:
        match field.cpp_type:
            case field.CPPTYPE_STRING:
                return self._bytes() if field.type == field.TYPE_BYTES else self._string(field.name)
            case field.CPPTYPE_BOOL:
                return self._random.random() < 0.5
            case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
                return self._random.choice(JUNK_FLOATS)
            case field.CPPTYPE_ENUM:
                assert field.enum_type is not None
                declared = [each.number for each in field.enum_type.values]
                return self._random.choice((-1, 99, 2**31 - 1)) if self._is_wild() else self._random.choice(declared)
            case _:
                return self._number(field)

    def _number(self, field: FieldDescriptor) -> int:
        if not self._is_wild():
            return self._random.choice((0, 1, 5, 20))
        wide = field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64)
        signed = field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
        bits = (64 if wide else 32) - signed
        return self._random.choice([one for one in JUNK_NUMBERS if -(2**bits) * signed <= one < 2**bits])

    def _string(self, name: str) -> str:
        if self._is_wild():
            return self._junk_string()
        name = SAME.get(name, name)
        known = self._known.get(name)
        if known and self._random.random() < 0.8:
            return known[self._random.randrange(len(known))]
        return self._random.choice(STRINGS.get(name, ("", "text")))

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.choice(JUNK_SIZES) if self._is_wild() else 20)

    # --- wrong values ---------------------------------------------------------------------------------------------

    def _is_wild(self) -> bool:
        return self._random.random() < self._wildness

    def _junk_string(self) -> str:
        if self._random.random() < 0.5:
            return self._random.choice(JUNK_STRINGS)
        points = (self._random.choice((0x80, 0xD800, 0x110000)) for _ in range(self._random.randrange(20)))
        return "".join(chr(self._random.randrange(below)) for below in points).encode(errors="replace").decode()

    def _damage(self, encoded: bytes) -> bytes:
        at = self._random.randrange(len(encoded) + 1)
        match self._random.randrange(6):
            case 0:  # cut off
                return encoded[:at]
            case 1:  # some bytes are changed
                return encoded[:at] + self._random.randbytes(4) + encoded[at + 4 :]
            case 2:  # all bytes are random
                return self._random.randbytes(self._random.randrange(200))
            case 3:  # an unknown field
                return encoded + b"\xa8\x06\x01"
            case 4:  # nested groups
                return encoded + b"\x0b" * self._random.choice((10, 200, 20_000))
            case _:  # a text that is not UTF-8
                return encoded + b"\x0a\x02\xff\xfe"
