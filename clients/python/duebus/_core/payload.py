"""Encodes Python values as payloads, and decodes them."""

import dataclasses
import json
from datetime import date, datetime, time
from decimal import Decimal
from email.message import Message
from enum import Enum
from typing import Any
from uuid import UUID

from duebus.errors import InvalidArgument

BYTES_TYPE = "application/octet-stream"
TEXT_TYPE = "text/plain; charset=utf-8"
JSON_TYPE = "application/json"

_BYTES = bytes | bytearray | memoryview


def encode_payload(data: object, content_type: str | None, field: str) -> tuple[bytes, str]:
    """Encodes a payload. Returns the bytes and their media type.

    Args:
        data: See `NewEvent.data`.
        content_type: The caller's media type; None: by the type of `data`.
        field: The name of `data` in errors.

    Raises:
        TypeError: `data` is neither bytes, nor str, nor made of types that JSON can express.
        InvalidArgument: it contains a value that JSON can't express (NaN, infinity, a cycle, a lone surrogate), or is
            not in the charset of its media type.
    """
    if content_type is not None:
        return _encode_as(data, content_type, field), content_type
    if isinstance(data, _BYTES):
        return bytes(data), BYTES_TYPE
    if isinstance(data, str):
        return _encode_text(data, "utf-8", field), TEXT_TYPE
    return _encode_json(data, field), JSON_TYPE


def _encode_as(data: object, content_type: str, field: str) -> bytes:
    charset = _charset(content_type)
    if isinstance(data, _BYTES):
        encoded = bytes(data)
        if charset is not None:
            _check_text(encoded, charset, content_type, field)
        return encoded
    if isinstance(data, str):
        return _encode_text(data, charset or "utf-8", field)
    return _encode_json(data, field)


def _charset(content_type: str) -> str | None:
    """The charset of text and JSON, by default UTF-8; None if the payload need not be text."""
    if not content_type:
        return None  # a message without a content type would be text
    header = Message()
    header["content-type"] = content_type
    kind = header.get_content_type()
    is_text = header.get_content_maintype() == "text" or kind == JSON_TYPE or kind.endswith("+json")
    return header.get_content_charset("utf-8") if is_text else None


def _check_text(data: bytes, charset: str, content_type: str, field: str) -> None:
    try:
        data.decode(charset)
    except UnicodeDecodeError as error:
        raise InvalidArgument.of_field(field, f"is not {charset}, the charset of {content_type!r}: {error}") from error
    except LookupError:  # a charset unknown to Python
        return


def _encode_text(data: str, charset: str, field: str) -> bytes:
    try:
        return data.encode(charset)
    except (UnicodeEncodeError, LookupError) as error:
        raise InvalidArgument.of_field(field, f"can't be encoded: {error}") from error


def _encode_json(data: object, field: str) -> bytes:
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_for_json)
        return text.encode()
    except TypeError as error:
        raise TypeError(f"{field}: neither bytes nor str nor JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgument.of_field(field, f"can't be encoded: {error}") from error


def _for_json(value: Any) -> object:
    """The JSON value for a type that the json module does not support."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if hasattr(type(value), "__struct_fields__"):
        from msgspec import to_builtins  # noqa: PLC0415 - the type comes from there, so it is installed

        return to_builtins(value)
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):  # a pydantic model
        return dump(mode="json")
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def decode_text(data: bytes, content_type: str) -> str:
    """The payload as text, decoded by the charset of its media type, or else UTF-8.

    Raises:
        UnicodeDecodeError: the bytes are not in that charset.
        LookupError: Python does not know the charset.
    """
    header = Message()
    header["content-type"] = content_type
    return data.decode(header.get_content_charset("utf-8"))


def decode_json(data: bytes) -> Any:
    """The payload as JSON, regardless of its media type.

    Raises:
        json.JSONDecodeError: it is not JSON.
    """
    return json.loads(data)
