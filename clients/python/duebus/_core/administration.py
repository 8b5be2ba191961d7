"""What the admin calls that change something have done."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Removed:
    """A topic or a group that is gone.

    Attributes:
        removed: How many events went with it, dead letters included.
    """

    removed: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of the events that were to be cancelled.

    Attributes:
        cancelled: Events of which at least one copy was removed.
        leased_event_ids: Those of which a copy was leased or dead, and was left alone; copies in other groups may have
            been removed.
        missing_event_ids: Those that the topic, or the group that was named, does not hold.
    """

    cancelled: int
    leased_event_ids: tuple[str, ...] = ()
    missing_event_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """Events that have another due time.

    Attributes:
        rescheduled: How many.
    """

    rescheduled: int


@dataclass(frozen=True, slots=True)
class Redriven:
    """Dead letters that are on their way again.

    Attributes:
        redriven: How many.
    """

    redriven: int


@dataclass(frozen=True, slots=True)
class Purged:
    """Dead letters that are gone for good.

    Attributes:
        purged: How many.
    """

    purged: int
