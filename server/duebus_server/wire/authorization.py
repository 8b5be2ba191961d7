"""Who makes a call, whether it is allowed, and how many streams the connection has open."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from duebus_server.domain import limits
from duebus_server.domain.actions import Action
from duebus_server.domain.errors import MaxStreamsReached, Unauthenticated
from duebus_server.security.access import NOBODY, Access, Caller
from duebus_server.security.acl import ALL_TOPICS, Verb
from duebus_server.security.audit import audit_to_log
from duebus_server.wire.names import ENGINE_FROM_PB

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    import grpc.aio

    from duebus_server.domain.model import EngineName
    from duebus_server.security.audit import Audit

    Context = grpc.aio.ServicerContext[Any, Any]

VERBS = {
    "/duebus.v1.EventBus/Dispatch": Verb.DISPATCH,
    "/duebus.v1.EventBus/Subscribe": Verb.SUBSCRIBE,
    "/duebus.v1.EventBus/Ack": None,
    "/duebus.v1.EventBus/Nack": None,
    "/duebus.v1.EventBus/Extend": None,
    "/duebus.v1.EventBus/Stop": Verb.STOP,
    "/duebus.v1.EventBusAdmin/ListTopics": Verb.VIEW,
    "/duebus.v1.EventBusAdmin/GetTopic": Verb.VIEW,
    "/duebus.v1.EventBusAdmin/ListEvents": Verb.VIEW,
    "/duebus.v1.EventBusAdmin/GetEvent": Verb.VIEW,
    "/duebus.v1.EventBusAdmin/ListKeys": Verb.VIEW,
    "/duebus.v1.EventBusSchedules/PutSchedule": Verb.DISPATCH,
    "/duebus.v1.EventBusSchedules/GetSchedule": None,
    "/duebus.v1.EventBusSchedules/ListSchedules": Verb.VIEW,
    "/duebus.v1.EventBusSchedules/DeleteSchedule": None,
    "/duebus.v1.EventBusSchedules/PauseSchedule": None,
    "/duebus.v1.EventBusSchedules/ResumeSchedule": None,
    "/duebus.v1.EventBusSchedules/TriggerSchedule": None,
    "/duebus.v1.EventBusSchedules/BackfillSchedule": None,
    "/duebus.v1.EventBusSchedules/PreviewSchedule": None,
}
"""The right that each needs. None: the bus finds the topics, by lease tokens or by the schedule, and asks ``permit``;
a preview needs none.
"""

SCALER = "/externalscaler."

OF_ALL_TOPICS = (Verb.VIEW, Verb.ADMIN)
"""The rights that a request without a topic needs on all of them."""

RECORDED = (Verb.VIEW, Verb.ADMIN, Verb.STOP)

SCHEDULES = "/duebus.v1.EventBusSchedules/"
"""All of its calls are recorded, too."""

CHANGING = (Verb.ADMIN, Verb.STOP)
READING_SCHEDULES = tuple(f"{SCHEDULES}{name}" for name in ("GetSchedule", "ListSchedules", "PreviewSchedule"))
"""Calls that need one of these rights, and those about schedules except these, change something. They are kept for the
page of actions.
"""

DEFAULT_MAX_STREAMS = 1_000

CHECK_AGAIN_S = 5.0
"""How often an open stream's right is checked again."""

_caller: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def caller_of_the_call() -> Caller:
    """Who makes the current call."""
    return _caller.get()


def permit(verb: Verb) -> Callable[[str], None] | None:
    """A check that the current caller has this right on a topic; None if everybody has.

    The check raises PermissionDenied.
    """
    caller = _caller.get()
    return None if caller.is_unlimited else partial(caller.demand, verb)


def may_see_data(topic: str) -> bool:
    """Whether the current caller may see the data of a topic's events."""
    return _caller.get().may(Verb.PAYLOAD, topic)


def verb_of(method: str) -> Verb | None:
    """The right that a method needs. An unlisted method is for admins, so that a new one is not open by mistake."""
    if method.startswith(SCALER):
        return Verb.SUBSCRIBE
    return VERBS.get(method, Verb.ADMIN)


def topic_of(request: Any) -> str:
    """The topic that a request is about; empty for none."""
    if hasattr(request, "scaledObjectRef"):
        request = request.scaledObjectRef
    if hasattr(request, "scalerMetadata"):
        return str(request.scalerMetadata.get("topic", ""))
    if hasattr(request, "schedule"):
        request = request.schedule
    return str(getattr(request, "topic", ""))


def _schedule_of(method: str, request: Any) -> str:
    """The name of the schedule that a request is about; empty for none."""
    if not method.startswith(SCHEDULES):
        return ""
    return str(getattr(getattr(request, "schedule", request), "name", ""))


def _name_or_none(text: str) -> str:
    """Anything but a name was refused, and is empty in the audit log."""
    return text if limits.is_name(text) else ""


def _changes(method: str) -> bool:
    """Whether a call changes something."""
    if method.startswith(SCHEDULES):
        return method not in READING_SCHEDULES
    return verb_of(method) in CHANGING


def _action(method: str, caller: Caller, request: Any, outcome: str, context: Context) -> Action:
    """A call as an action, whose time is set where it is kept."""
    return Action(
        at_us=0,
        identity=caller.identity,
        peer=context.peer(),
        verb=method.rpartition("/")[2],
        topic=_name_or_none(topic_of(request)),
        group=_name_or_none(str(getattr(request, "group", ""))),
        subject=_subject_of(method, request) if outcome == "OK" else _name_or_none(_schedule_of(method, request)),
        outcome=outcome,
    )


def _subject_of(method: str, request: Any) -> str:
    """What else an accepted request was about, in words."""
    if schedule := _schedule_of(method, request):
        return schedule
    chosen = getattr(request, "filter", request)
    ids, key = getattr(chosen, "event_ids", ()), getattr(chosen, "key", "")
    events = "" if not ids else f"event {ids[0]}" if len(ids) == 1 else f"{len(ids)} events"
    return ", ".join(part for part in (events, f"key {key}" if key else "") if part)


def _engines_of(request: Any) -> list[EngineName]:
    """The engines that a request names, each once."""
    named = set(getattr(request, "engines", None) or [getattr(request, "engine", 0)])
    return [ENGINE_FROM_PB[number] for number in named if number in ENGINE_FROM_PB]


class Authorizer:
    """Authenticates and authorizes calls, and counts streams.

    Args:
        access: identifies callers.
        audit: records admin actions, calls about schedules, and stops.
        max_streams: how many Subscribe streams a connection may have open.
        keep: also keeps what changes something, or tried to, with the engines that the request names; None: nothing
            is kept.
    """

    def __init__(
        self,
        access: Access | None = None,
        audit: Audit = audit_to_log,
        max_streams: int = DEFAULT_MAX_STREAMS,
        keep: Callable[[Action, Sequence[EngineName]], None] | None = None,
    ) -> None:
        self._access = access or Access()
        self._record = audit
        self._max_streams = max_streams
        self._keep = keep
        self._streams: Counter[str] = Counter()

    @property
    def knows_callers(self) -> bool:
        """Whether callers need credentials."""
        return not self._access.is_open

    async def authenticate(self, context: Context) -> None:
        """Identify the caller, for ``caller_of_the_call``.

        Raises:
            Unauthenticated: the credentials are missing or unknown.
        """
        if self.knows_callers:
            _caller.set(await self._recognize(context))

    def authorize(self, caller: Caller, method: str, request: Any) -> None:
        """Return if the caller may make this request.

        Raises:
            PermissionDenied: it may not.
            InvalidArgument: the topic is not a valid name. Rules, errors and logs only ever see valid names.
        """
        if not caller.is_unlimited and (verb := verb_of(method)) is not None:
            topic = topic_of(request)
            if topic:
                limits.check_name("topic", topic)
            caller.demand(verb, topic or (ALL_TOPICS if verb in OF_ALL_TOPICS else topic))

    async def run_stream(
        self, method: str, request: Any, context: Context, run: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Run a stream for as long as its caller has the right to it.

        Raises:
            MaxStreamsReached: the connection has too many.
            Unauthenticated, PermissionDenied: the caller lost the right, for example because a token was removed.
        """
        with self._counted(context.peer()):
            if self._access.is_open:
                await run()
                return
            running = asyncio.create_task(run())
            watching = asyncio.create_task(self._until_refused(method, request, context))
            try:
                await asyncio.wait((running, watching), return_when=asyncio.FIRST_COMPLETED)
            finally:
                watching.cancel()
                running.cancel()
                await asyncio.wait((running, watching))
                _ = running.cancelled() or running.exception()  # retrieved even if this call is being cancelled
            if not watching.cancelled() and (refusal := watching.exception()) is not None:
                raise refusal
            await running

    def audit(self, method: str, caller: Caller, request: Any, outcome: str, context: Context) -> None:
        """Record what somebody did or tried to do. The request is None if it was not read, or not parsed."""
        if verb_of(method) in RECORDED or method.startswith(SCHEDULES):
            self._record(
                identity=caller.identity,
                verb=method.rpartition("/")[2],
                topic=_name_or_none(topic_of(request)),
                outcome=outcome,
                peer=context.peer(),
                schedule=_name_or_none(_schedule_of(method, request)),
            )
        if self._keep is not None and request is not None and _changes(method):
            self._keep(_action(method, caller, request, outcome, context), _engines_of(request))

    async def _recognize(self, context: Context) -> Caller:
        headers = [str(value) for key, value in context.invocation_metadata() or () if key == "authorization"]
        if len(headers) > 1:
            raise Unauthenticated("there is more than one authorization header")  # a proxy may have checked another
        return await self._access.recognize(headers[0] if headers else None, partial(_names_of, context))

    async def _until_refused(self, method: str, request: Any, context: Context) -> None:
        """Run until the caller has lost its right, and raise that error."""
        while True:
            await asyncio.sleep(CHECK_AGAIN_S)
            self.authorize(await self._recognize(context), method, request)

    @contextmanager
    def _counted(self, connection: str) -> Iterator[None]:
        if self._streams[connection] >= self._max_streams:
            raise MaxStreamsReached(
                f"the connection already has the maximum of {self._max_streams} streams",
                metadata={"max_streams_per_connection": str(self._max_streams)},
            )
        self._streams[connection] += 1
        try:
            yield
        finally:
            self._streams[connection] -= 1
            if not self._streams[connection]:
                del self._streams[connection]


def _names_of(context: Context) -> tuple[str, ...]:
    """The names in the client's certificate, the common name first; none without one."""
    found = context.auth_context()
    names = [*found.get("x509_common_name", ()), *found.get("x509_subject_alternative_name", ())]
    texts = [name.decode(errors="replace") for name in names]
    return tuple(dict.fromkeys(text for text in texts if text and text.isprintable()))
