"""Which errors heal by trying again."""

from duebus.errors import (
    ClientClosed,
    DueBusError,
    InvalidArgument,
    NoDispatcherSpecified,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
)

__all__ = ["heals"]

_HOPELESS = (
    ClientClosed,
    InvalidArgument,
    NoDispatcherSpecified,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
)


def heals(error: DueBusError) -> bool:
    """False when the same call would fail in the same way for ever: the worker stops with the error."""
    return not isinstance(error, _HOPELESS)
