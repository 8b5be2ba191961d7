"""Payloads: from bytes, str or anything JSON to the bytes that are dispatched, and back."""

import json
from email.message import Message
from typing import Any

from duebus.errors import InvalidArgument

BYTES_TYPE = "application/octet-stream"
TEXT_TYPE = "text/plain; charset=utf-8"
JSON_TYPE = "application/json"

_BYTES = bytes | bytearray | memoryview


def encode_payload(data: object, field: str) -> tuple[bytes, str]:
    """The bytes to dispatch, and their media type.

    Raises:
        TypeError: `data` is not bytes, str or made of what JSON knows.
        InvalidArgument: it holds what JSON can't say (NaN, infinity, a cycle, a lone surrogate).
    """
    if isinstance(data, _BYTES):
        return bytes(data), BYTES_TYPE
    try:
        if isinstance(data, str):
            return data.encode(), TEXT_TYPE
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode(), JSON_TYPE
    except TypeError as error:
        raise TypeError(f"{field}: neither bytes nor str nor JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgument.of_field(field, f"can't be encoded: {error}") from error


def decode_text(data: bytes, content_type: str) -> str:
    """The payload as text, by the charset of its media type or else UTF-8.

    Raises:
        UnicodeDecodeError: the bytes are not of that charset.
        LookupError: Python does not know the charset.
    """
    header = Message()
    header["content-type"] = content_type
    return data.decode(header.get_content_charset("utf-8"))


def decode_json(data: bytes) -> Any:
    """The payload as JSON, whatever its media type says.

    Raises:
        json.JSONDecodeError: it is not JSON.
    """
    return json.loads(data)
