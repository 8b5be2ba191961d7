"""A worker's settings."""

from dataclasses import dataclass
from datetime import timedelta

from duebus._core.enums import Engine
from duebus.worker.interceptors import HandlerInterceptor

__all__ = ["MAX_IN_FLIGHT", "MAX_IN_FLIGHT_BYTES", "MAX_LEASE", "MIN_LEASE", "Settings"]

# The server's limits for one stream.
MAX_IN_FLIGHT = 100_000
MAX_IN_FLIGHT_BYTES = 1 << 30
MIN_LEASE, MAX_LEASE = timedelta(milliseconds=100), timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a `Worker`. Durations that are not timedeltas are in seconds."""

    group: str
    ephemeral: bool
    engine: Engine | str | None
    consumer: str
    concurrency: int
    prefetch: int | None
    max_in_flight_bytes: int
    lease: timedelta
    max_execution: float
    drain_timeout: float
    interceptors: tuple[HandlerInterceptor, ...]

    def max_in_flight(self, concurrency: int) -> int:
        """The window of a subscription: the deliveries that are handled and those that wait."""
        prefetch = concurrency if self.prefetch is None else self.prefetch
        return min(MAX_IN_FLIGHT, concurrency + prefetch)
