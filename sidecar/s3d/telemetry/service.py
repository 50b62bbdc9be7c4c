"""What the daemon has of telemetry: who records spans, what sends metrics and entries of the log, and their end.

The signals are sent by threads of their own, and each by itself: what hangs for one of them holds up no other, and the
end waits for all of them together, for a moment.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.util.re import parse_env_headers

from s3d import __version__, files
from s3d.errors import ConfigError
from s3d.metrics import Metrics
from s3d.settings import Telemetry as Settings
from s3d.spans import Tracer
from s3d.telemetry.encoding import use_ours
from s3d.telemetry.entries import Entries
from s3d.telemetry.readings import Readings
from s3d.telemetry.recorder import Recorder
from s3d.telemetry.waiting import Waiting, Words

MAX_WAITING = 2048
"""Spans, and entries of the log, that may wait."""
MAX_READINGS = 2
"""Readings of the metrics that may wait: one on its way, and the one of the end."""
MAX_HEADERS = 64 << 10
"""Bytes of the file with headers."""
CLOSE_SECONDS = 1.0
"""How long the end waits for the collector."""


class Spans(SpanExporter):
    """An exporter of spans that tells what became of them."""

    def __init__(self, exporter: OTLPSpanExporter, waiting: Waiting) -> None:
        """Take who sends them."""
        self._exporter = exporter
        self._waiting = waiting

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._waiting.gone(len(spans), sent=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()


class Logs(LogRecordExporter):
    """An exporter of entries of the log that tells what became of them."""

    def __init__(self, exporter: OTLPLogExporter, waiting: Waiting) -> None:
        """Take who sends them."""
        self._exporter = exporter
        self._waiting = waiting

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send some."""
        result = LogRecordExportResult.FAILURE
        try:
            result = self._exporter.export(batch)
        finally:
            self._waiting.gone(len(batch), sent=result is LogRecordExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether nothing is kept here, which is always so."""
        return True


class Bounded(BatchSpanProcessor):
    """Takes spans as long as there is room."""

    def __init__(self, exporter: SpanExporter, waiting: Waiting) -> None:
        """Take who sends them, and how many may wait."""
        super().__init__(exporter, MAX_WAITING)
        self._waiting = waiting

    def on_end(self, span: ReadableSpan) -> None:
        """Take one that is over."""
        if self._waiting.take():
            super().on_end(span)


class Telemetry:
    """All of it."""

    def __init__(self, settings: Settings, endpoint: str, metrics: Metrics) -> None:
        """Begin to send. Raises ConfigError."""
        words = Words()
        own = {"service.name": "s3d", "service.version": __version__, "service.instance.id": socket.gethostname()}
        resource = Resource(own).merge(OTELResourceDetector().detect())
        headers = _headers(settings)
        self._interval = settings.metric_interval / 1000
        self._ends: list[Callable[[], object]] = []
        self._readings: Readings | None = None
        self.tracer: Tracer | None = None
        """None: no spans are sent."""

        def waiting(signal: str, limit: int) -> Waiting:
            return Waiting(signal, limit, metrics, words)

        try:
            if settings.traces == "otlp":
                use_ours()
                waits = waiting("spans", MAX_WAITING)
                sender = OTLPSpanExporter(_where(endpoint, "traces"), headers=headers)
                processor = Bounded(Spans(sender, waits), waits)
                self.tracer = Recorder(settings, resource, processor)
                self._ends.append(processor.shutdown)
            if settings.metrics == "otlp":
                of_metrics = OTLPMetricExporter(_where(endpoint, "metrics"), headers=headers)
                limit = waiting("metrics", MAX_READINGS)
                self._readings = Readings(of_metrics, metrics.registry, resource, limit)
                self._ends.append(self._readings.shutdown)
            if settings.logs == "otlp":
                waits = waiting("logs", MAX_WAITING)
                of_logs = OTLPLogExporter(_where(endpoint, "logs"), headers=headers)
                batches = BatchLogRecordProcessor(Logs(of_logs, waits), max_queue_size=MAX_WAITING)
                logging.getLogger().addHandler(Entries(resource, batches, waits))
                self._ends.append(batches.shutdown)
        except ValueError as error:
            raise ConfigError(f"OpenTelemetry cannot be set up: {error}") from None

    async def send_metrics(self, refresh: Callable[[], None]) -> None:
        """Send the metrics, whose gauges `refresh` sets, and rest until the next time."""
        if self._readings is not None:
            refresh()
            self._readings.send()
        await asyncio.sleep(self._interval)

    def close(self) -> None:
        """Send what waits, for a moment; what is not sent by then is lost."""
        deadline = time.monotonic() + CLOSE_SECONDS
        threads = [threading.Thread(target=end, daemon=True) for end in self._ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _where(endpoint: str, signal: str) -> str | None:
    """Where a signal is sent; None: to where its own variable says."""
    if os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"):
        return None
    return f"{endpoint}/v1/{signal}"


def _headers(settings: Settings) -> Mapping[str, str]:
    """The headers in the file, written as those of OTEL_EXPORTER_OTLP_HEADERS. Raises ConfigError."""
    if settings.headers_file is None:
        return {}
    text = files.read_secret(settings.headers_file, MAX_HEADERS).decode("utf-8", "replace")
    return parse_env_headers(",".join(text.split("\n")), liberal=True)
