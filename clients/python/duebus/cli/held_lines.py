"""What an engine holds as JSON lines: `duebus journal export` writes them, and `import` reads them.

The first line names the format, and the last one says how many lines there are, so that a file that was cut off is
noticed. docs/journal.md describes the lines.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from duebus_server.domain.errors import DueBusError
from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.domain.transfer import Held, HeldGroup, HeldTopic
from google.protobuf import json_format
from pydantic import Field, TypeAdapter, ValidationError

from duebus.cli.held_models import AnyLine, End, Event, Group, Line, Schedule, Start, Topic

_ANY_LINE = TypeAdapter[AnyLine](Annotated[AnyLine, Field(discriminator="kind")])


class BadLineError(ValueError):
    """A line can't be read. The text names the file and the line."""


def written(held: Iterable[Held]) -> Iterator[str]:
    """The lines of what an engine holds, without line ends."""
    count = 0
    yield Start().model_dump_json()
    for one in held:
        count += 1
        yield _line(one).model_dump_json(exclude_none=True)
    yield End(lines=count).model_dump_json()


def _line(held: Held) -> Line:
    if isinstance(held, HeldTopic):
        return Topic.of(held)
    if isinstance(held, ScheduleRecord):
        return Schedule.of(held)
    return Group.of(held) if isinstance(held, HeldGroup) else Event.of(held)


def read(path: Path) -> Iterator[Held]:
    """What a file of such lines says, checked as it is read.

    Raises:
        BadLineError: a line can't be read, or does not follow from those before it.
        OSError: the file can't be read.
    """
    seen = _Seen()
    number = 0
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):  # the number of the last line is used below
            try:
                line = _ANY_LINE.validate_json(text)
                seen.check(line)
                if isinstance(line, Topic | Group | Event | Schedule):
                    yield line.held()
            except (ValueError, DueBusError, json_format.ParseError) as error:
                raise BadLineError(f"{path}: line {number}: {_reason(error)}") from error
    if not seen.has_ended:
        raise BadLineError(f"{path}: line {number + 1}: the file was cut off: its last line is missing")


class _Seen:
    """What the lines so far have named. Later lines have to follow from it.

    Attributes:
        has_ended: the last line was read.
    """

    def __init__(self) -> None:
        self.has_ended = False
        self._lines = -1  # the first line does not count
        self._topic = ""
        self._groups: set[str] = set()

    def check(self, line: AnyLine) -> None:
        """Take note of the next line.

        Raises:
            ValueError: it can't come here.
        """
        if self.has_ended:
            raise ValueError("comes after the last line")
        if isinstance(line, Start) is not (self._lines < 0):
            raise ValueError('the first line, and no other, must be of kind "export"')
        if isinstance(line, End):
            self.has_ended = True
            if line.lines != self._lines:
                raise ValueError(
                    f"the file has {self._lines} lines of topics, groups, events and schedules, not {line.lines}"
                )
            return
        self._lines += 1
        if isinstance(line, Topic):
            self._topic, self._groups = line.topic, {""}
        elif isinstance(line, Group | Event):
            self._check_names(line)

    def _check_names(self, line: Group | Event) -> None:
        if line.topic != self._topic:
            raise ValueError(f"topic {line.topic!r} is not that of the topic line before")
        if isinstance(line, Group):
            self._groups.add(line.group)
            return
        names = [copy.group for copy in line.groups]
        unknown = [name for name in names if name not in self._groups]
        if unknown:
            raise ValueError(f"no line before names the group {unknown[0]!r}")
        if len(set(names)) < len(names):
            raise ValueError("names a group twice")


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
