"""What a worker was made with."""

from dataclasses import dataclass
from datetime import timedelta

from duebus._core.enums import Engine

__all__ = ["MAX_IN_FLIGHT", "Settings"]

# What the server allows one stream.
MAX_IN_FLIGHT = 100_000


@dataclass(frozen=True, slots=True)
class Settings:
    """See `Worker` for the meaning; lengths of time are in seconds where they are not timedeltas."""

    group: str
    engine: Engine | str | None
    consumer: str
    concurrency: int
    prefetch: int | None
    max_in_flight_bytes: int
    lease: timedelta
    max_execution: float
    drain_timeout: float

    def max_in_flight(self, concurrency: int) -> int:
        """The window of a subscription: what is handled and what waits to be."""
        prefetch = concurrency if self.prefetch is None else self.prefetch
        return min(MAX_IN_FLIGHT, concurrency + prefetch)
