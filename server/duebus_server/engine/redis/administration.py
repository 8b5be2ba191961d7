"""The admin verbs that the redis engine does not have yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from duebus_server.domain.errors import Unimplemented

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.administration import (
        CancelAnswer,
        DeadLetterFilter,
        DeadLetterProgress,
        DeadLetterStep,
        NewDueTime,
        RetryPolicyChanges,
        TopicChanges,
    )
    from duebus_server.domain.views import TopicConfig

# ruff: noqa: ARG002  # the names are the contract's


class NotYetAdministered:
    """Says of each verb that it is not there yet."""

    async def configure_topic(self, topic: str, changes: TopicChanges) -> TopicConfig:
        """See ``Engine.configure_topic``."""
        _refuse()

    async def configure_group(self, topic: str, group: str, changes: RetryPolicyChanges) -> TopicConfig:
        """See ``Engine.configure_group``."""
        _refuse()

    async def delete_topic(self, topic: str) -> int:
        """See ``Engine.delete_topic``."""
        _refuse()

    async def delete_group(self, topic: str, group: str) -> int:
        """See ``Engine.delete_group``."""
        _refuse()

    async def pause_group(self, topic: str, group: str) -> None:
        """See ``Engine.pause_group``."""
        _refuse()

    async def resume_group(self, topic: str, group: str) -> None:
        """See ``Engine.resume_group``."""
        _refuse()

    async def cancel(self, topic: str, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """See ``Engine.cancel``."""
        _refuse()

    async def reschedule(self, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime) -> int:
        """See ``Engine.reschedule``."""
        _refuse()

    async def redrive(
        self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """See ``Engine.redrive``."""
        _refuse()

    async def purge(self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> DeadLetterProgress:
        """See ``Engine.purge``."""
        _refuse()


def _refuse() -> NoReturn:
    raise Unimplemented("the redis engine does not have this admin call yet")
