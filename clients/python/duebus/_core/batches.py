"""Splits items into requests."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

__all__ = ["DEFAULT_REQUEST_BYTES", "MAX_LEASES", "batches"]

# How many tokens the server accepts in one Ack, Nack or Extend.
MAX_LEASES = 10_000
# For a server that does not announce its largest request.
DEFAULT_REQUEST_BYTES = 4 << 20
# Room for the other fields of a request and gRPC's headers.
_REST_BYTES = 1_024

_T = TypeVar("_T")


def batches(items: Sequence[_T], size_of: Callable[[Sequence[_T]], int], request_bytes: int) -> Iterator[Sequence[_T]]:
    """The items in order, in batches of about as many as fit into a request, but at least one.

    Args:
        items: The items of a repeated field.
        size_of: The bytes that items take in the request. It gets all of them first, because they nearly always fit.
        request_bytes: The largest request.
    """
    room = request_bytes - _REST_BYTES
    start = 0
    while batch := items[start : start + MAX_LEASES]:
        while (size := size_of(batch)) > room and len(batch) > 1:
            batch = batch[: max(1, len(batch) * room // size)]
        yield batch
        start += len(batch)
