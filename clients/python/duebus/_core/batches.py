"""Splits items into requests."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["DEFAULT_REQUEST_BYTES", "MAX_LEASES", "batches"]

# The most tokens that the server accepts in one Ack, Nack or Extend.
MAX_LEASES = 10_000
# For a server that does not announce its largest request.
DEFAULT_REQUEST_BYTES = 4 << 20
# Room for the other fields of a request and gRPC's headers.
_REST_BYTES = 1_024

_T = TypeVar("_T")


def batches(items: Iterable[_T], size_of: Callable[[_T], int], request_bytes: int) -> Iterator[list[_T]]:
    """The items in order, in batches of as many as fit into a request, but at least one.

    Args:
        items: The items of a repeated field.
        size_of: The bytes that an item takes in the request.
        request_bytes: The largest request.
    """
    batch: list[_T] = []
    room = request_bytes - _REST_BYTES
    for item in items:
        size = size_of(item)
        if batch and (len(batch) == MAX_LEASES or size > room):
            yield batch
            batch, room = [], request_bytes - _REST_BYTES
        batch.append(item)
        room -= size
    if batch:
        yield batch
