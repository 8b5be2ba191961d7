"""The local engine: events in the memory of one server process."""

from duebus_server.engine.local.engine import LocalEngine

__all__ = ["LocalEngine"]
