"""DueBus in programs that use SQLAlchemy 2: events that commit with a transaction, and handlers that commit once."""

from duebus.integrations.sqlalchemy.inbox import Inbox
from duebus.integrations.sqlalchemy.outbox import Outbox

__all__ = ["Inbox", "Outbox"]
