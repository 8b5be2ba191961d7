"""The worker: decorated handlers on topics, with leases, retries, batching, reconnecting and draining done for them."""

from duebus.worker.decisions import DeadLetter, RateLimited, Release, RetryAfter
from duebus.worker.interceptors import HandlerInterceptor, HandlerNext
from duebus.worker.registry import Handler, Registration
from duebus.worker.worker import Worker

__all__ = [
    "DeadLetter",
    "Handler",
    "HandlerInterceptor",
    "HandlerNext",
    "RateLimited",
    "Registration",
    "Release",
    "RetryAfter",
    "Worker",
]
