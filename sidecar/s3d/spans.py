"""Spans: what a trace tells of a request or a push, said by whoever does a part of it.

A task has a span only where telemetry is on and its request is one of those that are recorded; mostly it has none, and
then a look-up of a context variable is all that is done here. Tasks that it starts have the same span. What a span is
made of and where it goes only telemetry/ knows.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Protocol

Value = str | int | float
Attributes = Mapping[str, Value]
BUCKET, KEY = "aws.s3.bucket", "aws.s3.key"
"""Attributes of that name hold a bucket and a key; telemetry/ leaves keys out unless it is told to keep them."""
OUTCOME, SOURCE = "s3d.outcome", "s3d.source"
METHOD, STATUS, ERROR = "http.request.method", "http.response.status_code", "error.type"
REQUEST_ID, SERVER = "aws.request_id", "server.address"


class Span(Protocol):
    """Something that is being done, and is recorded."""

    @property
    def traceparent(self) -> str:
        """It, as a `traceparent` header of W3C's Trace Context names it."""

    def event(self, name: str) -> None:
        """Note that something has happened in it just now."""

    def tell(self, attributes: Attributes, *, name: str = "", failed: bool = False) -> None:
        """Add what is known of it, and say under which name, or that it has failed."""

    def child(self, name: str, attributes: Attributes) -> "Span":
        """Begin the request to the remote that is a part of it."""

    def end(self) -> None:
        """Note that it is over; nothing more is said of it."""


class Tracer(Protocol):
    """Begins the spans that have no other around them here."""

    def request(self, headers: Mapping[str, str]) -> Span | None:
        """Begin that of a client's request with these headers; None where it is not recorded."""

    def push(self, name: str, attributes: Attributes, requests: Sequence[str]) -> Span:
        """Begin that of a push, which links to the requests that queued it, named by their `traceparent`."""


CURRENT: ContextVar[Span | None] = ContextVar("span", default=None)


@contextlib.contextmanager
def within(span: Span | None) -> Iterator[None]:
    """Make a span, or none, that of the current task; it ends with the block."""
    token = CURRENT.set(span)
    try:
        yield
    finally:
        CURRENT.reset(token)
        if span is not None:
            span.end()


@contextlib.contextmanager
def child(name: str, attributes: Attributes) -> Iterator[Span | None]:
    """A part of the current span that ends with the block, and has failed where the block raises; None where there is
    no span."""
    around = CURRENT.get()
    if around is None:
        yield None
        return
    span = around.child(name, attributes)
    try:
        yield span
    except BaseException as error:
        span.tell({ERROR: type(error).__name__}, failed=True)
        raise
    finally:
        span.end()


def event(name: str) -> None:
    """Note at the current span what has happened just now."""
    if (span := CURRENT.get()) is not None:
        span.event(name)


def tell(attributes: Attributes, *, failed: bool = False) -> None:
    """Add to the current span what is known of it."""
    if (span := CURRENT.get()) is not None:
        span.tell(attributes, failed=failed)


def traceparent() -> str:
    """The current span, as a later one may link to it; "" where there is none."""
    span = CURRENT.get()
    return span.traceparent if span is not None else ""
