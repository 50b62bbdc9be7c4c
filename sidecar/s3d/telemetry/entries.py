"""The log by OTLP: each entry as it stands in the log, with the span that it was made in, and no secret.

An entry may name keys of objects, so that this is only done where `OTEL_LOGS_EXPORTER` asks for it. What is said of the
sending itself is not sent.
"""

import logging

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from s3d.logs import scrub
from s3d.spans import CURRENT
from s3d.telemetry.recorder import Recorded
from s3d.telemetry.waiting import LIBRARY, Waiting

SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}
NOT_SENT = (LIBRARY, "s3d.telemetry", "urllib3", "requests")


class Entries(logging.Handler):
    """Hands entries over to those who send them."""

    def __init__(self, resource: Resource, processor: LogRecordProcessor, waiting: Waiting) -> None:
        """Take in whose name they are sent, who sends them, and how many may wait."""
        super().__init__()
        provider = LoggerProvider(resource, shutdown_on_exit=False)
        provider.add_log_record_processor(processor)
        self._logger = provider.get_logger("s3d")
        self._waiting = waiting
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Take an entry, or drop it. Nothing that fails here may fail who makes it."""
        if record.name.startswith(NOT_SENT) or not self._waiting.take():
            return
        try:
            self._logger.emit(self._translated(record))
        except Exception:  # noqa: BLE001 - see above
            self._waiting.gone(1, sent=False)

    def _translated(self, record: logging.LogRecord) -> LogRecord:
        fields = {name: value for name, value in getattr(record, "fields", {}).items() if value is not None}
        attributes = {"logger": record.name, **fields}
        if record.exc_info:
            attributes["exception.stacktrace"] = scrub(self._formatter.formatException(record.exc_info))
        span = CURRENT.get()
        return LogRecord(
            timestamp=int(record.created * 1e9),
            context=set_span_in_context(NonRecordingSpan(span.context)) if isinstance(span, Recorded) else Context(),
            severity_text=record.levelname,
            severity_number=SEVERITIES.get(record.levelno, SeverityNumber.UNSPECIFIED),
            body=scrub(record.getMessage()),
            attributes=attributes,
        )
