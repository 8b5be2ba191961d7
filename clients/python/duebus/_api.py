"""All of the client's public names, for `duebus/__init__.py`."""

from duebus import aio, errors
from duebus._core.admin_model import (
    Attempt,
    Cancelled,
    EventGroupInfo,
    EventInfo,
    GroupInfo,
    GroupMinute,
    KeyInfo,
    Lateness,
    Page,
    Purged,
    Rates,
    Redriven,
    Removed,
    Rescheduled,
    RetryPolicy,
    Subscriber,
    TopicConfig,
    TopicInfo,
    TopicMinute,
)
from duebus._core.delivery import Delivery
from duebus._core.enums import AttemptOutcome, ClosingReason, Engine, EventState, LeaseFailureReason
from duebus._core.frames import Closing, Deliveries, Frame, Heartbeat, Started
from duebus._core.limits import KeyPolicy, Limits, OnDead, Pause, PauseScope, Rate
from duebus._core.model import Dispatched, LeaseFailure, Nack, NewEvent, StoppedEngine
from duebus._core.schedule_model import CatchUp, Overlap, Preview, Schedule, ScheduleInfo
from duebus._core.tls import tls
from duebus.client import Client
from duebus.errors import DueBusError, FieldViolation
from duebus.worker import DeadLetter, RateLimited, Release, RetryAfter, Worker

__all__ = [
    "Attempt",
    "AttemptOutcome",
    "Cancelled",
    "CatchUp",
    "Client",
    "Closing",
    "ClosingReason",
    "DeadLetter",
    "Deliveries",
    "Delivery",
    "Dispatched",
    "DueBusError",
    "Engine",
    "EventGroupInfo",
    "EventInfo",
    "EventState",
    "FieldViolation",
    "Frame",
    "GroupInfo",
    "GroupMinute",
    "Heartbeat",
    "KeyInfo",
    "KeyPolicy",
    "Lateness",
    "LeaseFailure",
    "LeaseFailureReason",
    "Limits",
    "Nack",
    "NewEvent",
    "OnDead",
    "Overlap",
    "Page",
    "Pause",
    "PauseScope",
    "Preview",
    "Purged",
    "Rate",
    "RateLimited",
    "Rates",
    "Redriven",
    "Release",
    "Removed",
    "Rescheduled",
    "RetryAfter",
    "RetryPolicy",
    "Schedule",
    "ScheduleInfo",
    "Started",
    "StoppedEngine",
    "Subscriber",
    "TopicConfig",
    "TopicInfo",
    "TopicMinute",
    "Worker",
    "aio",
    "errors",
    "tls",
]
