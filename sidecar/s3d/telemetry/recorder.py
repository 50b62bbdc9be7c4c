"""Records spans: which requests, and what of them.

Whether a request is recorded is decided once, at its head, from its `traceparent` or by chance; then all of it is. A
push is recorded where a request that queued it was: it is a trace of its own, since hours may lie between the two, and
links to them. Keys of objects are left out unless they are asked for (O-7).

A span is kept in plain values, and becomes one of OpenTelemetry's when it is over: the SDK's own tracer, which locks,
copies and checks at each word, takes five times as long.
"""

import random
from collections.abc import Mapping, Sequence
from time import time_ns

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from s3d import __version__
from s3d.settings import Telemetry as Settings
from s3d.spans import KEY, Attributes, Span, Value

ALL = 1 << 64
PARENT = "traceparent"
FORMAT = TraceContextTextMapPropagator()
MAX_EVENTS = 128
"""Events of a span that are kept, as many as by the SDK's own tracer."""
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
SCOPE = InstrumentationScope("s3d", __version__)
UNSET, FAILED = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


class Recorded:
    """A span that is recorded."""

    __slots__ = (
        "_attributes",
        "_began",
        "_events",
        "_failed",
        "_kind",
        "_links",
        "_name",
        "_over",
        "_parent",
        "_to",
        "context",
    )

    def __init__(
        self, to: "Recorder", name: str, kind: SpanKind, parent: SpanContext | None = None, links: Sequence[Link] = ()
    ) -> None:
        """Begin it now, under a parent or as a trace of its own."""
        self._to, self._name, self._kind, self._parent, self._links = to, name, kind, parent, links
        trace = random.getrandbits(128) or 1 if parent is None else parent.trace_id
        state = None if parent is None else parent.trace_state
        self.context = SpanContext(trace, random.getrandbits(64) or 1, False, SAMPLED, state)
        self._attributes: dict[str, Value] = {}
        self._events: list[Event] = []
        self._failed = self._over = False
        self._began = time_ns()

    @property
    def traceparent(self) -> str:
        """It, for links."""
        return f"00-{self.context.trace_id:032x}-{self.context.span_id:016x}-01"

    def event(self, name: str) -> None:
        """Note an event. What a request has started may outlive it, and says nothing any more."""
        if not self._over and len(self._events) < MAX_EVENTS:
            self._events.append(Event(name, timestamp=time_ns()))

    def tell(self, attributes: Attributes, *, name: str = "", failed: bool = False) -> None:
        """Add attributes."""
        if self._over:
            return
        self._attributes.update(attributes)
        self._name = name or self._name
        self._failed = failed or self._failed

    def child(self, name: str, attributes: Attributes) -> Span:
        """Begin a request to the remote."""
        span = Recorded(self._to, name, SpanKind.CLIENT, self.context)
        span.tell(attributes)
        return span

    def end(self) -> None:
        """End it."""
        if self._over:
            return
        self._over = True
        if not self._to.keys:
            self._attributes.pop(KEY, None)
        self._to.processor.on_end(
            ReadableSpan(
                self._name,
                self.context,
                self._parent,
                self._to.resource,
                self._attributes,
                self._events,
                self._links,
                self._kind,
                status=FAILED if self._failed else UNSET,
                start_time=self._began,
                end_time=time_ns(),
                instrumentation_scope=SCOPE,
            )
        )


class Recorder:
    """Begins spans."""

    def __init__(self, settings: Settings, resource: Resource, processor: SpanProcessor) -> None:
        """Take what is to be recorded, in whose name, and who sends it."""
        kind, ratio = settings.sampler, settings.sampler_arg
        self._follows = kind.startswith("parentbased_")
        self._share = {"always_on": 1.0, "always_off": 0.0}.get(kind.removeprefix("parentbased_"), ratio)
        self.keys = settings.keys
        """Whether spans may name keys of objects."""
        self.resource = resource
        self.processor = processor

    def request(self, headers: Mapping[str, str]) -> Span | None:
        """Begin the span of a request, or leave it unrecorded."""
        parent: SpanContext | None = None
        if PARENT in headers:
            parent = get_current_span(FORMAT.extract(headers, Context())).get_span_context()
            parent = parent if parent.is_valid else None
        if parent is None:
            is_recorded = self._is_chosen()
        elif self._follows:
            is_recorded = parent.trace_flags.sampled
        else:
            is_recorded = parent.trace_id % ALL < self._share * ALL
        return Recorded(self, "request", SpanKind.SERVER, parent) if is_recorded else None

    def push(self, name: str, attributes: Attributes, requests: Sequence[str]) -> Span:
        """Begin the span of a push."""
        contexts = [get_current_span(FORMAT.extract({PARENT: one}, Context())).get_span_context() for one in requests]
        links = [Link(context) for context in contexts if context.is_valid]
        span = Recorded(self, name, SpanKind.CONSUMER, links=links)
        span.tell(attributes)
        return span

    def _is_chosen(self) -> bool:
        return random.random() < self._share  # noqa: S311 - chooses what is recorded, guards nothing
