"""Reads files of JSON payloads, one per line, in batches."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

BATCH_EVENTS = 500
# Far below the 4 MiB that a dispatch may hold, with room for one more event of the largest size.
_BATCH_BYTES = 2 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
# The longest line of an event that the server accepts.
_LINE_BYTES = 4 * 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A payload and the number of its line, from 1."""

    number: int
    payload: bytes


Batch = list[Line]


class BadLineError(Exception):
    """A line is not a payload; those before it were returned."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


def read_batches(stream: BinaryIO, on_bytes: Callable[[int], object]) -> Iterator[Batch]:
    """The payloads of a file or a pipe, in batches; empty lines are skipped.

    A batch never waits for more input: what arrives slowly through a pipe is sent as it arrives.

    Args:
        stream: A buffered stream.
        on_bytes: Called with the number of bytes of each read.

    Raises:
        BadLineError: a line is not JSON.
        OSError: the stream can't be read.
    """
    rest, number = b"", 1
    while chunk := stream.read1(_CHUNK_BYTES):  # type: ignore[attr-defined] # typeshed's BinaryIO lacks it
        on_bytes(len(chunk))
        *lines, rest = (rest + chunk).split(b"\n")
        yield from _batches(lines, number)
        number += len(lines)
        if len(rest) > _LINE_BYTES:
            raise BadLineError(number, "is longer than an event may be")
    yield from _batches([rest], number)


def _batches(lines: Iterable[bytes], number: int) -> Iterator[Batch]:
    batch, size = Batch(), 0
    try:
        for line in _payloads(lines, number):
            batch.append(line)
            size += len(line.payload)
            if len(batch) == BATCH_EVENTS or size >= _BATCH_BYTES:
                full, batch, size = batch, Batch(), 0
                yield full
    except BadLineError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _payloads(lines: Iterable[bytes], number: int) -> Iterator[Line]:
    for each, line in enumerate(lines, number):
        payload = (line.removeprefix(_BYTE_ORDER_MARK) if each == 1 else line).strip()
        if payload:
            reason = why_not_json(payload)
            if reason:
                raise BadLineError(each, f"is not JSON: {reason}")
            yield Line(each, payload)


def why_not_json(payload: bytes) -> str | None:
    """Why the payload is not JSON in UTF-8; None if it is."""
    try:
        json.loads(payload.decode(), parse_constant=_refuse, parse_int=str)  # numbers of any length
    except json.JSONDecodeError as error:
        return f"{error.msg} at column {error.colno}"
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1}"
    except (ValueError, RecursionError) as error:
        return str(error)
    return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")
