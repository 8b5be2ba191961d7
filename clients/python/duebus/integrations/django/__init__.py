"""DueBus in Django: events that commit with a transaction, and a backend for tasks.

INSTALLED_APPS = [..., "duebus.integrations.django"]
DUEBUS = {"target": "127.0.0.1:50051"}  # the arguments of duebus.Client

with transaction.atomic():
    order = Order.objects.create(...)
    dispatch("order.created", {"id": order.id})
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duebus.integrations.django.inbox import Once
    from duebus.integrations.django.outbox import dispatch, relay
    from duebus.integrations.django.tasks import DueBusBackend

__all__ = ["DueBusBackend", "Once", "dispatch", "relay"]

_MODULES = {"DueBusBackend": "tasks", "Once": "inbox", "dispatch": "outbox", "relay": "outbox"}


def __getattr__(name: str) -> Any:
    """Loads a name when it is used, because Django imports this package before models may be loaded."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
