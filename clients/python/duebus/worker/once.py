"""Handlers that take effect once, although an event is delivered at least once."""

from collections.abc import Callable
from typing import Any, Protocol, cast

from duebus._core.delivery import Delivery

__all__ = ["Once", "once_by"]


class Once(Protocol):
    """Commits what a handler writes together with a note that its event was handled."""

    @property
    def keywords(self) -> tuple[str, ...]:
        """The keyword arguments that handlers get besides the delivery."""

    def guard(self, call: Callable[..., object], *, is_async: bool) -> Callable[[Delivery], object]:
        """Returns what calls a handler, unless its event was handled.

        Args:
            call: Takes a delivery and the keyword arguments.
            is_async: Whether it is a coroutine function; what is returned is one then too.
        """


def once_by(once: Any) -> Once:
    """The argument `once` of a handler: something for a database library, or a session factory of SQLAlchemy.

    Raises:
        TypeError: It is neither.
    """
    if hasattr(once, "guard"):
        if isinstance(once, type):
            raise TypeError(f"once: {once.__name__} is a class; write {once.__name__}()")
        return cast("Once", once)
    try:
        from duebus.integrations.sqlalchemy.inbox import once_with  # noqa: PLC0415 - only its users have it
    except ModuleNotFoundError:
        raise TypeError(f"once: expected a session factory of SQLAlchemy, got {type(once).__name__}") from None
    return once_with(once)
