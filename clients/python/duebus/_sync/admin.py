"""What the bus holds, for threads."""

from collections.abc import Iterator

from duebus._core import admin_calls
from duebus._core.enums import Engine, EventState
from duebus._core.fields import Span
from duebus._core.inspection import EventInfo, Page, TopicInfo
from duebus._sync.connection import Connection


class AdminClient:
    """The admin calls of a client: `client.admin`.

    `engine` is None for the server's default engine, `group` empty for "default". Every method raises NotFound for
    a topic, group or event that the engine does not have, and otherwise what all calls raise.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list_topics(
        self, *, engine: Engine | str | None = None, page_size: int = 0, timeout: Span | None = None
    ) -> Iterator[TopicInfo]:
        """All topics by name, fetched page by page.

        Args:
            engine: Whose topics.
            page_size: How many to fetch at a time, 1 to 1000; 0 means 100.
            timeout: How long fetching one page may take; None: the client's.
        """
        page_token, more = "", True
        while more:
            page = self.list_topics_page(engine=engine, page_size=page_size, page_token=page_token, timeout=timeout)
            yield from page.items
            page_token, more = page.next_page_token, bool(page.next_page_token)

    def list_topics_page(
        self,
        *,
        engine: Engine | str | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: Span | None = None,
    ) -> Page[TopicInfo]:
        """One page of the topics by name.

        Args:
            engine: Whose topics.
            page_size: 1 to 1000; 0 means 100.
            page_token: `next_page_token` of the page before; empty for the first.
            timeout: How long it may take; None: the client's.
        """
        call = admin_calls.list_topics(engine=engine, page_size=page_size, page_token=page_token)
        return self._connection.run(call, timeout)

    def get_topic(self, topic: str, *, engine: Engine | str | None = None, timeout: Span | None = None) -> TopicInfo:
        """One topic: its settings, and for each group the counts, subscribers, age and rates."""
        return self._connection.run(admin_calls.get_topic(topic, engine=engine), timeout)

    def list_events(
        self,
        topic: str,
        state: EventState | str,
        *,
        group: str = "",
        engine: Engine | str | None = None,
        newest_first: bool = False,
        page_size: int = 0,
        timeout: Span | None = None,
    ) -> Iterator[EventInfo]:
        """All events of a group in one state, fetched page by page.

        Args:
            topic: The topic.
            state: In which state; the order is by due time (scheduled, ready), lease expiry (leased), death (dead).
            group: The group; while the topic has none yet, empty means the events that wait for the first one.
            engine: Which engine holds them.
            newest_first: Latest time first, in place of earliest.
            page_size: How many to fetch at a time, 1 to 1000; 0 means 100.
            timeout: How long fetching one page may take; None: the client's.
        """
        page_token, more = "", True
        while more:
            page = self.list_events_page(
                topic,
                state,
                group=group,
                engine=engine,
                newest_first=newest_first,
                page_size=page_size,
                page_token=page_token,
                timeout=timeout,
            )
            yield from page.items
            page_token, more = page.next_page_token, bool(page.next_page_token)

    def list_events_page(
        self,
        topic: str,
        state: EventState | str,
        *,
        group: str = "",
        engine: Engine | str | None = None,
        newest_first: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: Span | None = None,
    ) -> Page[EventInfo]:
        """One page of the events of a group in one state.

        Args:
            topic: As in `list_events`.
            state: As in `list_events`.
            group: As in `list_events`.
            engine: As in `list_events`.
            newest_first: As in `list_events`.
            page_size: 1 to 1000; 0 means 100.
            page_token: `next_page_token` of the page before, with the same arguments; empty for the first.
            timeout: How long it may take; None: the client's.
        """
        call = admin_calls.list_events(
            topic,
            state,
            group=group,
            engine=engine,
            newest_first=newest_first,
            page_size=page_size,
            page_token=page_token,
        )
        return self._connection.run(call, timeout)

    def get_event(
        self, topic: str, event_id: str, *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> EventInfo:
        """One event: its state in each group that is not done with it, attempts, errors and times."""
        return self._connection.run(admin_calls.get_event(topic, event_id, engine=engine), timeout)
