"""The file that `duebus journal import` reads: a line that is wrong is named."""

from pathlib import Path

import pytest
from duebus.cli.held_lines import BadLineError, read

START = '{"kind":"export","format":1}'
TOPIC = '{"kind":"topic","topic":"orders"}'
GROUP = '{"kind":"group","topic":"orders","group":"billing"}'
COPY = '{"group":"billing","state":"ready","deliver_at":"2026-01-01T00:00:00Z"}'
UNDER_WAY = '{"attempt":1,"started_at":"2026-01-01T00:00:00Z","outcome":"under_way"}'
EVENT = (
    '{"kind":"event","topic":"orders","event":{"id":"one","data":"AAEC"},"dispatched_at":"2026-01-01T00:00:00Z",'
    f'"groups":[{COPY}]}}'
)
END = '{"kind":"end","lines":3}'
RIGHT = (START, TOPIC, GROUP, EVENT, END)


def file(path: Path, *lines: str) -> Path:
    written = path / "export.jsonl"
    written.write_text("".join(f"{line}\n" for line in lines))
    return written


def test_what_may_be_left_out_has_its_default(tmp_path: Path) -> None:
    topic, group, event = read(file(tmp_path, *RIGHT))
    assert (topic.topic, group.topic, event.topic) == ("orders", "orders", "orders")


@pytest.mark.parametrize(
    ("lines", "number", "reason"),
    [
        ((), 1, "cut off"),
        ((START,), 2, "cut off"),
        (RIGHT[:-1], 5, "cut off"),
        ((*RIGHT[:3], EVENT[:40]), 4, "EOF"),
        ((TOPIC, *RIGHT[1:]), 1, 'must be of kind "export"'),
        ((START, START, *RIGHT[1:]), 2, 'must be of kind "export"'),
        (('{"kind":"export","format":2}', *RIGHT[1:]), 1, "format"),
        ((START, '{"kind":"other"}'), 2, "kind|tag"),
        ((*RIGHT, TOPIC), 6, "after the last line"),
        ((START, TOPIC, EVENT, END), 3, "no line before names the group 'billing'"),
        ((START, GROUP, END), 2, "not that of the topic line before"),
        ((START, TOPIC, GROUP, END), 4, "has 2 lines"),
        ((START, TOPIC.replace("orders", "or{d}ers")), 2, "not a name of a topic"),
        ((START, TOPIC[:-1] + ',"lease_seconds":0}'), 2, "lease_seconds"),
        ((START, TOPIC[:-1] + ',"more":0}'), 2, "more"),
        (
            (START, TOPIC[:-1] + ',"retry_policy":{"backoff_initial_seconds":2,"backoff_max_seconds":1}}'),
            2,
            "must not be less than backoff_initial",
        ),
        ((*RIGHT[:3], EVENT.replace('"id":"one"', '"id":""')), 4, "has no id"),
        ((*RIGHT[:3], EVENT.replace("AAEC", "AA?EC")), 4, "not Base64"),
        ((*RIGHT[:3], EVENT.replace('"data"', '"date"')), 4, "date"),
        ((*RIGHT[:3], EVENT.replace(COPY, f"{COPY},{COPY}")), 4, "names a group twice"),
        ((*RIGHT[:3], EVENT.replace(COPY, "")), 4, "groups"),
        ((*RIGHT[:3], EVENT.replace('"ready"', '"dead"')), 4, "dead_at"),
        ((*RIGHT[:3], EVENT.replace('"ready"', '"leased"')), 4, "attempts"),
        (
            (*RIGHT[:3], EVENT.replace('"deliver_at"', f'"history":[{UNDER_WAY}],"deliver_at"')),
            4,
            "only the last attempt of a leased event",
        ),
        ((*RIGHT[:3], EVENT.replace("2026-01-01T00:00:00Z", "9026-01-01T00:00:00Z")), 4, "less than 2255"),
        ((*RIGHT[:3], EVENT.replace("2026-01-01T00:00:00Z", "2026-01-01T00:00:00")), 4, "timezone"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, lines: tuple[str, ...], number: int, reason: str) -> None:
    path = file(tmp_path, *lines)
    with pytest.raises(BadLineError, match=reason) as caught:
        list(read(path))
    assert str(caught.value).startswith(f"{path}: line {number}: ")
