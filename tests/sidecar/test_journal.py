"""The log on its way out: whoever does not read it holds up nobody."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from s3d.journal import MAX_BYTES, MAX_LINES, RESERVED_SHARE, Journal


class Pipe:
    """A pipe that is read when a test says so, and what a journal has said about it."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        self.dropped: Counter[str] = Counter()
        self.journal = Journal(self.into, lambda number: f"{number} missing\n".encode(), self.count)

    def count(self, reason: str, number: int) -> None:
        self.dropped[reason] += number

    def fill(self) -> None:
        """Take what the pipe holds, so that nothing more goes in."""
        os.set_blocking(self.into, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.into, b"." * 4095 + b"\n")
        os.set_blocking(self.into, True)

    def read(self, last: str) -> list[str]:
        """What comes out of it, as far as a line that is named."""
        read = b""
        while not read.endswith(f"\n{last}\n".encode()):
            read += os.read(self.out, 1 << 16)
        return [line for line in read.decode().splitlines() if set(line) != {"."}]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    opened = Pipe()
    yield opened
    with suppress(OSError):
        os.close(opened.out)
    # The thread is done with its descriptor before the number is another file's: else it would write there.
    assert opened.journal.flush(60)
    os.close(opened.into)


@pytest.mark.semantics("O-1")
def test_a_pipe_that_nobody_reads_holds_up_nobody_and_says_what_is_missing(pipe: Pipe) -> None:
    pipe.fill()
    for number in range(3 * MAX_LINES):
        pipe.journal.put(f"{number:0200}\n".encode(), logging.INFO)
    assert pipe.dropped["full"] >= MAX_LINES
    pipe.journal.put(b"an error\n", logging.ERROR)
    expected = missing = 0
    *lines, last = pipe.read("an error")
    for line in lines:
        if line.isdigit():
            assert int(line) == expected
            expected += 1
        else:
            number = int(line.removesuffix(" missing"))
            expected, missing = expected + number, missing + number
    assert (expected, last) == (3 * MAX_LINES, "an error")
    assert pipe.dropped == {"full": missing}


def test_a_line_is_out_at_once_where_the_pipe_has_room(pipe: Pipe) -> None:
    os.set_blocking(pipe.out, False)
    for number in range(100):
        pipe.journal.put(f"{number}\n".encode(), logging.INFO)
        assert os.read(pipe.out, 100) == f"{number}\n".encode()


def test_a_flood_of_little_news_leaves_room_for_an_error(pipe: Pipe) -> None:
    pipe.fill()
    line = b"x" * 999 + b"\n"
    for _ in range(2 * MAX_BYTES // len(line)):
        pipe.journal.put(line, logging.INFO)
    dropped = pipe.dropped["full"]
    assert dropped
    errors = MAX_BYTES // RESERVED_SHARE // len(line) // 2
    for _ in range(errors):
        pipe.journal.put(line, logging.ERROR)
    assert pipe.dropped["full"] == dropped


def test_what_is_missing_is_said_also_where_nothing_comes_after_it(pipe: Pipe) -> None:
    pipe.fill()
    for _ in range(2 * MAX_LINES):
        pipe.journal.put(b"x" * 200 + b"\n", logging.INFO)
    assert pipe.dropped["full"]
    said = b""
    while sum(map(int, re.findall(rb"(\d+) missing\n", said))) != pipe.dropped["full"]:
        said += os.read(pipe.out, 1 << 16)


def test_lines_that_nobody_can_read_any_more_are_counted(pipe: Pipe) -> None:
    os.close(pipe.out)
    pipe.journal.put(b"x\n", logging.INFO)
    assert pipe.journal.flush(60)
    assert pipe.dropped == {"unwritable": 1}


def test_a_flush_ends_where_nobody_reads(pipe: Pipe) -> None:
    pipe.fill()
    pipe.journal.put(b"x\n", logging.INFO)
    assert not pipe.journal.flush(0.01)
    pipe.read("x")
    assert pipe.journal.flush(60)


def test_a_pipe_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    pipe.fill()
    os.set_blocking(pipe.into, False)
    pipe.journal.put(b"x\n", logging.INFO)
    assert pipe.read("x") == ["x"]
