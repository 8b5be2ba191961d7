"""Refuses requests with fields that this server doesn't know. An error beats silently ignoring what a client asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from duebus_server.domain.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor


def refuse_unknown_fields(request: Message) -> None:
    """Raise InvalidArgument, naming the first unknown field, if there is one.

    Comparing sizes before and after dropping unknown fields costs two passes in C, however many events there are;
    only a request that is refused is searched field by field.
    """
    received = request.SerializeToString()
    request.DiscardUnknownFields()
    if len(received) != request.ByteSize():
        request.ParseFromString(received)
        raise InvalidArgument(next(_unknown_paths(request, "")), "no such field")


def _unknown_paths(message: Message, path: str) -> Iterator[str]:
    """The paths of unknown fields, by number, such as ``events[3].12``."""
    unknown_fields: Any = UnknownFieldSet(message)
    for unknown in unknown_fields:
        yield f"{path}{unknown.field_number}"
    for field, value in message.ListFields():
        for position, part in _messages(field, value):
            yield from _unknown_paths(part, f"{path}{field.name}{position}.")


def _messages(field: FieldDescriptor, value: object) -> Iterator[tuple[str, Message]]:
    if isinstance(value, Message):
        yield "", value
    elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
        for index, part in enumerate(value):  # type: ignore[arg-type, var-annotated]  # a repeated field
            yield f"[{index}]", part
