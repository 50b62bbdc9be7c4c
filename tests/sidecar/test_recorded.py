"""What a span holds of what is said of it, as it goes to whoever sends it."""

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common import trace_encoder
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import StatusCode

from s3d.settings import Telemetry as Settings
from s3d.telemetry.encoding import encode_spans, use_ours
from s3d.telemetry.recorder import Recorder

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b"}


class Taken(SpanProcessor):
    """Keeps what is over."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it."""
        self.spans.append(span)


def recorder(**settings: Any) -> tuple[Recorder, list[ReadableSpan]]:
    taken = Taken()
    return Recorder(Settings(**settings), Resource({"service.name": "s3d"}), taken), taken.spans


def test_a_span_has_what_was_said_until_its_end() -> None:
    begins, spans = recorder()
    span = begins.request(SAMPLED)
    assert span is not None
    span.event("queued")
    span.tell({"a": 1, "b": "x"}, name="PutObject")
    span.tell({"a": 2})
    span.end()
    span.event("late")
    span.tell({"late": "x"}, name="Late", failed=True)
    span.end()
    (said,) = spans
    assert (said.name, dict(said.attributes or {})) == ("PutObject", {"a": 2, "b": "x"})
    assert [event.name for event in said.events] == ["queued"]
    assert said.status.status_code is StatusCode.UNSET
    assert said.start_time <= said.events[0].timestamp <= said.end_time  # type: ignore[operator]
    assert span.traceparent == f"00-{TRACE}-{said.context.span_id:016x}-01"
    assert said.parent is not None
    assert (f"{said.parent.span_id:016x}", said.parent.is_remote) == (PARENT, True)
    assert said.context.trace_state.to_header() == "a=b"


def test_a_part_that_fails_says_so_and_the_whole_does_not() -> None:
    begins, spans = recorder()
    around = begins.request(SAMPLED)
    assert around is not None
    part = around.child("HeadObject", {"server.address": "remote"})
    part.tell({"error.type": "Unavailable"}, failed=True)
    part.end()
    around.end()
    inner, outer = spans
    assert [one.status.status_code for one in spans] == [StatusCode.ERROR, StatusCode.UNSET]
    assert inner.parent == outer.context
    assert f"{inner.context.trace_id:032x}" == TRACE


@pytest.mark.semantics("O-6")
def test_a_push_is_a_trace_of_its_own_with_links_that_can_be_read() -> None:
    begins, spans = recorder()
    begins.push("push put", {"aws.s3.bucket": "b"}, [SAMPLED["traceparent"], "no parent"]).end()
    (push,) = spans
    assert push.parent is None
    assert f"{push.context.trace_id:032x}" != TRACE
    assert [f"{link.context.trace_id:032x}" for link in push.links] == [TRACE]


@pytest.mark.semantics("O-7")
@pytest.mark.parametrize("keys", [False, True])
def test_keys_are_left_out_unless_they_are_asked_for(keys: bool) -> None:
    begins, spans = recorder(keys=keys)
    around = begins.request(SAMPLED)
    assert around is not None
    around.child("PutObject", {"aws.s3.key": "k"}).end()
    around.tell({"aws.s3.key": "k"})
    around.end()
    assert ["aws.s3.key" in (one.attributes or {}) for one in spans] == [keys, keys]


@pytest.mark.semantics("O-5")
@pytest.mark.parametrize(
    "sampler, flags, recorded",
    [
        ("parentbased_traceidratio", "01", True),
        ("parentbased_traceidratio", "00", False),
        ("traceidratio", "01", False),
        ("always_on", "00", True),
        ("always_off", "01", False),
    ],
)
def test_who_is_recorded_is_said_by_the_parent_or_by_the_share(sampler: str, flags: str, recorded: bool) -> None:
    begins, _ = recorder(sampler=sampler, sampler_arg=0.0)
    assert (begins.request({"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}) is not None) == recorded


def test_spans_are_encoded_as_by_the_exporter_itself() -> None:
    begins, spans = recorder(keys=True, sampler="always_on")
    around = begins.request(SAMPLED)
    assert around is not None
    around.event("queued")
    around.event("committed")
    part = around.child("PutObject", {"aws.s3.key": "schön", "http.response.status_code": "503", "retries": 3})
    part.tell({"share": 0.5, "negative": -1}, failed=True)
    part.end()
    around.end()
    begins.push("push put", {}, [SAMPLED["traceparent"]] * 2).end()
    own = begins.request({})
    assert own is not None
    own.end()
    assert len(spans) == 4
    assert encode_spans(spans) == trace_encoder.encode_spans(spans)


def test_the_exporter_asks_for_an_encoder_where_ours_is() -> None:
    use_ours()
    assert vars(trace_exporter)["encode_spans"] is encode_spans
    assert "encode_spans" in trace_exporter.OTLPSpanExporter.export.__code__.co_names
