"""Handlers whose writes with Django's ORM are committed together with a note that their event was handled."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta

from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connections,
    router,
    transaction,
)
from django.utils import timezone

from duebus._core.delivery import Delivery
from duebus._core.fields import Span, seconds
from duebus.integrations.django.models import InboxKey, InboxNote
from duebus.integrations.inbox import MAX_IDLE, AlreadyHandled, Beginning, check_ended, too_late

__all__ = ["OUTAGES", "Once"]

OUTAGES = (OperationalError, InterfaceError)
"""What Django raises if the database can't be reached."""

_log = logging.getLogger("duebus.inbox")


class Once:
    """For the argument `once` of `Worker.on`: the handler runs in a transaction, and takes effect once.

    It also gives the handler a connection that works, as Django does for a request.

    Args:
        using: The database; None: the one to which the router writes the app's models.
        ordered: Whether a commit is refused if a later lease of the same key has committed, because its own has run
            out then. With a key policy that lets several events of a key through at once, this must be False.
    """

    keywords = ()

    def __init__(self, *, using: str | None = None, ordered: bool = True) -> None:
        self._using = using
        self._ordered = ordered
        self._beginning = Beginning(*OUTAGES)

    def guard(self, call: Callable[..., object], *, is_async: bool) -> Callable[[Delivery], object]:
        """Returns what calls the handler once, in a transaction.

        Raises:
            TypeError: The handler is a coroutine function, which Django's transactions do not support.
        """
        if is_async:
            raise TypeError("once: Django's transactions need a handler that is a plain function")

        def handle(delivery: Delivery) -> None:
            close_old_connections()
            try:
                with ExitStack() as stack:
                    with self._beginning.reading():
                        stack.enter_context(transaction.atomic(using=self._alias()))
                        self._check_new(delivery)
                    self._handle(call, delivery)
            except AlreadyHandled:
                _log.info("%s/%s: event %s was handled before", delivery.topic, delivery.group, delivery.event_id)
            finally:
                close_old_connections()

        return handle

    def prune(self, older_than: Span) -> int:
        """Delete notes. Returns how many.

        Args:
            older_than: A timedelta or seconds: longer than an event may still be delivered again, dead letters that
                are redriven included.
        """
        before = timezone.now() - timedelta(seconds=seconds("older_than", older_than))
        InboxKey.objects.using(self._alias()).filter(handled_at__lt=before).delete()
        count, _ = InboxNote.objects.using(self._alias()).filter(handled_at__lt=before).delete()
        return int(count)

    def _alias(self) -> str:
        return str(self._using or router.db_for_write(InboxNote))

    def _check_new(self, delivery: Delivery) -> None:
        """Raises AlreadyHandled if the event was handled."""
        if InboxNote.objects.using(self._alias()).filter(**_note(delivery)).exists():
            raise AlreadyHandled(delivery.event_id)

    def _handle(self, call: Callable[..., object], delivery: Delivery) -> None:
        check_ended(call(delivery))
        if (connection := connections[self._alias()]).vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{MAX_IDLE}'")
        try:
            InboxNote.objects.using(self._alias()).create(**_note(delivery), handled_at=timezone.now())
        except IntegrityError as error:
            raise AlreadyHandled(delivery.event_id) from error
        if self._ordered and delivery.key:
            self._note_key(delivery)

    def _note_key(self, delivery: Delivery) -> None:
        """Keep the token of the last lease of the key.

        It looks for the row first. On MySQL, an UPDATE that finds none may lock the gap where the row would be, and
        two workers with new keys would block each other.

        Raises:
            RuntimeError: a later lease has committed.
        """
        key = {"topic": delivery.topic, "consumer_group": delivery.group, "event_key": delivery.key}
        token = {"fencing_token": delivery.fencing_token, "handled_at": timezone.now()}
        keys = InboxKey.objects.using(self._alias())
        of_key = keys.filter(**key)
        if not of_key.exists():
            keys.create(**key, **token)
        elif not of_key.filter(fencing_token__lt=delivery.fencing_token).update(**token):
            # With the lock it reads what is committed now, and not what was when MySQL's transaction began.
            raise too_late(delivery, of_key.select_for_update().get().fencing_token)


def _note(delivery: Delivery) -> dict[str, str]:
    """The columns that tell a note from others."""
    return {"topic": delivery.topic, "consumer_group": delivery.group, "event_id": delivery.event_id}
