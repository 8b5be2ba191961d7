"""Files of JSON payloads, cut into batches."""

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

import pytest
from duebus.cli.lines import BATCH_EVENTS, BadLineError, Batch, read_batches


def batches_of(content: bytes) -> list[Batch]:
    return list(read_batches(io.BytesIO(content), lambda _: None))


def payloads(content: bytes) -> list[tuple[int, bytes]]:
    return [(line.number, line.payload) for batch in batches_of(content) for line in batch]


def drain(batches: Iterator[Batch]) -> tuple[list[int], BadLineError]:
    """The numbers of the lines before the bad one, and the number of the bad one."""
    numbers: list[int] = []
    try:
        for batch in batches:
            numbers += [line.number for line in batch]
    except BadLineError as error:
        return numbers, error
    pytest.fail("no line was bad")


def test_each_line_is_a_payload_byte_for_byte() -> None:
    assert payloads(b'{"a": 1.10}\n"b"\n[]') == [(1, b'{"a": 1.10}'), (2, b'"b"'), (3, b"[]")]


def test_empty_lines_windows_line_ends_and_a_byte_order_mark_are_not_payloads() -> None:
    assert payloads(b"\xef\xbb\xbf1\r\n\r\n  \n2\n") == [(1, b"1"), (4, b"2")]


def test_an_empty_file_has_no_batches() -> None:
    assert batches_of(b"") == []


def test_a_batch_has_a_limited_number_of_events() -> None:
    sizes = [len(batch) for batch in batches_of(b"1\n" * (2 * BATCH_EVENTS + 1))]
    assert sizes == [BATCH_EVENTS, BATCH_EVENTS, 1]


def test_a_batch_of_large_events_stays_below_what_a_dispatch_may_hold() -> None:
    line = b'"' + b"x" * 900_000 + b'"\n'
    for batch in batches_of(line * 10):
        assert sum(len(each.payload) for each in batch) <= 4 * 1024 * 1024


def test_lines_that_span_several_reads_are_whole() -> None:
    lines = [b'"%d%s"' % (number, b"x" * 50_000) for number in range(100)]
    assert [payload for _, payload in payloads(b"\n".join(lines))] == lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{bad", "Expecting property name"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b'"\xff"', "not UTF-8 at byte 2"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_is_not_json_is_reported_after_the_lines_before_it(line: bytes, reason: str) -> None:
    numbers, error = drain(read_batches(io.BytesIO(b"1\n2\n" + line + b"\n4\n"), lambda _: None))
    assert numbers == [1, 2]
    assert error.number == 3
    assert reason in str(error)


def test_a_number_of_any_length_is_json() -> None:
    assert payloads(b"1" * 10_000) == [(1, b"1" * 10_000)]


def test_an_endless_line_is_refused_before_it_fills_the_memory() -> None:
    numbers, error = drain(read_batches(io.BytesIO(b"1\n" + b"1" * 20_000_000), lambda _: None))
    assert (numbers, error.number) == ([1], 2)


def test_slow_input_from_a_pipe_is_not_held_back() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pipe:  # noqa: PTH123 - file descriptors
        batches = read_batches(stream, lambda _: None)
        pipe.write(b"1\n2\n3")
        assert [line.payload for line in next(batches)] == [b"1", b"2"]
        pipe.write(b"3\n")
        assert [(line.number, line.payload) for line in next(batches)] == [(3, b"33")]


def test_every_byte_that_is_read_is_reported() -> None:
    content = b'"some payload"\n' * 200_000
    counted: list[int] = []
    stream: BinaryIO = io.BytesIO(content)
    for _ in read_batches(stream, counted.append):
        pass
    assert sum(counted) == len(content)
    assert len(counted) > 1
