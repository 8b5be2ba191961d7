"""Reads the typed details that a failed call carries in its trailing metadata."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from duebus._core.enums import Engine, engine_from_wire
from duebus.v1.error_details_pb2 import PartialDispatch

_KEY = "grpc-status-details-bin"
_DOMAIN = "duebus"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field: its path, for example `events[3].delay`, and what is wrong with it."""

    field: str
    description: str


@dataclass(slots=True)
class StatusDetails:
    """The typed details; DueBusError documents the fields."""

    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    retry_after: timedelta | None = None
    stored_engines: tuple[Engine, ...] = ()
    stored_event_ids: tuple[str, ...] = ()


def read_status_details(trailing_metadata: Iterable[Any] | None) -> StatusDetails:
    """Reads the details. Missing or unreadable ones are left empty: they must not hide the error itself."""
    details = StatusDetails()
    for key, value in trailing_metadata or ():
        if key == _KEY and isinstance(value, bytes):
            _read_status(value, details)
    return details


def _read_status(value: bytes, details: StatusDetails) -> None:
    try:
        for packed in Status.FromString(value).details:
            _read_detail(packed, details)
    except DecodeError:
        return


def _read_detail(packed: AnyMessage, details: StatusDetails) -> None:
    read = _READERS.get(packed.TypeName())
    if read is not None:
        read(packed.value, details)


def _read_error_info(value: bytes, details: StatusDetails) -> None:
    info = ErrorInfo.FromString(value)
    if info.domain == _DOMAIN:
        details.reason = info.reason
        details.metadata = dict(info.metadata)


def _read_bad_request(value: bytes, details: StatusDetails) -> None:
    violations = BadRequest.FromString(value).field_violations
    details.field_violations = tuple(FieldViolation(each.field, each.description) for each in violations)


def _read_retry_info(value: bytes, details: StatusDetails) -> None:
    details.retry_after = RetryInfo.FromString(value).retry_delay.ToTimedelta()


def _read_partial_dispatch(value: bytes, details: StatusDetails) -> None:
    partial = PartialDispatch.FromString(value)
    engines = map(engine_from_wire, partial.stored_engines)
    details.stored_engines = tuple(engine for engine in engines if engine is not None)
    details.stored_event_ids = tuple(partial.event_ids)


_READERS = {
    ErrorInfo.DESCRIPTOR.full_name: _read_error_info,
    BadRequest.DESCRIPTOR.full_name: _read_bad_request,
    RetryInfo.DESCRIPTOR.full_name: _read_retry_info,
    PartialDispatch.DESCRIPTOR.full_name: _read_partial_dispatch,
}
