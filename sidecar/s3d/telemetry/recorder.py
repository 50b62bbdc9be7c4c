"""Records spans by OpenTelemetry's SDK: which requests, and what of them.

Whether a request is recorded is decided once, at its head, from its `traceparent` or by chance; then all of it is. A
push is recorded where a request that queued it was: it is a trace of its own, since hours may lie between the two, and
links to them. Keys of objects are left out unless they are asked for (O-7).
"""

import random
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import Tracer as SdkTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from s3d import __version__
from s3d.settings import Telemetry as Settings
from s3d.spans import KEY, Attributes, Span

ALL = 1 << 64
PARENT = "traceparent"
FORMAT = TraceContextTextMapPropagator()


class Recorded:
    """A span that is recorded."""

    __slots__ = ("_keys", "_tracer", "span")

    def __init__(self, span: SdkSpan, tracer: SdkTracer, *, keys: bool) -> None:
        """Take the span as the SDK has it, and whether it may hold keys."""
        self.span = span
        self._tracer = tracer
        self._keys = keys

    @property
    def traceparent(self) -> str:
        """It, for links."""
        context = self.span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    def event(self, name: str) -> None:
        """Note an event. What a request has started may outlive it, and says nothing any more."""
        if self.span.is_recording():
            self.span.add_event(name)

    def tell(self, attributes: Attributes, *, name: str = "", failed: bool = False) -> None:
        """Add attributes."""
        if not self.span.is_recording():
            return
        self.span.set_attributes(self._shown(attributes))
        if name:
            self.span.update_name(name)
        if failed:
            self.span.set_status(Status(StatusCode.ERROR))

    def child(self, name: str, attributes: Attributes) -> Span:
        """Begin a request to the remote."""
        around = set_span_in_context(self.span)
        shown = self._shown(attributes)
        span = self._tracer.start_span(name, around, kind=SpanKind.CLIENT, attributes=shown)
        return Recorded(span, self._tracer, keys=self._keys)

    def end(self) -> None:
        """End it."""
        self.span.end()

    def _shown(self, attributes: Attributes) -> Attributes:
        if self._keys or KEY not in attributes:
            return attributes
        return {name: value for name, value in attributes.items() if name != KEY}


class Recorder:
    """Begins spans."""

    def __init__(self, settings: Settings, resource: Resource, processor: SpanProcessor) -> None:
        """Take what is to be recorded, in whose name, and who sends it."""
        kind, ratio = settings.sampler, settings.sampler_arg
        self._follows = kind.startswith("parentbased_")
        self._share = {"always_on": 1.0, "always_off": 0.0}.get(kind.removeprefix("parentbased_"), ratio)
        self._keys = settings.keys
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, span_limits=SpanLimits(), shutdown_on_exit=False
        )
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("s3d", __version__)

    def request(self, headers: Mapping[str, str]) -> Span | None:
        """Begin the span of a request, or leave it unrecorded."""
        given: Context | None = None
        if PARENT in headers:
            given = FORMAT.extract(headers, Context())
            parent = get_current_span(given).get_span_context()
            if parent.is_valid:
                number = parent.trace_id % ALL
                is_recorded = parent.trace_flags.sampled if self._follows else number < self._share * ALL
            else:
                given, is_recorded = None, self._is_chosen()
        else:
            is_recorded = self._is_chosen()
        if not is_recorded:
            return None
        span = self._tracer.start_span("request", given or Context(), kind=SpanKind.SERVER)
        return Recorded(span, self._tracer, keys=self._keys)

    def push(self, name: str, attributes: Attributes, requests: Sequence[str]) -> Span:
        """Begin the span of a push."""
        contexts = [get_current_span(FORMAT.extract({PARENT: one}, Context())).get_span_context() for one in requests]
        links = [Link(context) for context in contexts if context.is_valid]
        span = self._tracer.start_span(name, Context(), kind=SpanKind.CONSUMER, links=links)
        recorded = Recorded(span, self._tracer, keys=self._keys)
        recorded.tell(attributes)
        return recorded

    def _is_chosen(self) -> bool:
        return random.random() < self._share  # noqa: S311 - chooses what is recorded, guards nothing
