"""How much goes into one request."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["DEFAULT_REQUEST_BYTES", "MAX_LEASES", "batches"]

# The most that the server takes in one Ack, Nack or Extend.
MAX_LEASES = 10_000
# Of a server that does not say how large a request may be.
DEFAULT_REQUEST_BYTES = 4 << 20
# What a request holds besides: its other fields, and the headers of gRPC.
_REST_BYTES = 1_024

_T = TypeVar("_T")


def batches(items: Iterable[_T], size_of: Callable[[_T], int], request_bytes: int) -> Iterator[list[_T]]:
    """The items in their order, as many at a time as fit into a request, and at least one.

    Args:
        items: What goes into a repeated field.
        size_of: The bytes of an item in the request.
        request_bytes: How large a request may be.
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
