"""One request and its answer, as metrics, the access log and its span tell of it.

Every request that was read is reported once, when its answer has left or its client has: also what the door refuses by
itself. A path is shown without its query, since that of a presigned URL holds a signature.
"""

import logging
import time
from dataclasses import dataclass, field
from urllib.parse import unquote

from aiohttp import web

from s3d import spans
from s3d.door.response import Pieces
from s3d.metrics import Metrics
from s3d.settings import Gateway
from s3d.spans import Span

log = logging.getLogger("s3d.access")

CLIENT_LEFT = 499
"""Counted as the status where the client left before its answer began."""
MAX_PATH = 1024
"""Bytes of a path that the access log shows."""


@dataclass(slots=True)
class Exchange:
    """What is known of one."""

    id: str
    method: str
    path: str
    operation: str = ""
    """The name in the S3 model; "" for an unknown one, and before it is known."""
    bucket: str = ""
    key: str = ""
    source: str = "door"
    """Who answered: a source of api.Reply, or the door where the request came no further."""
    received: int = 0
    sent: int = 0
    """Bytes of the bodies, as announced."""
    started: float = field(default_factory=time.perf_counter)
    span: Span | None = None
    """What is recorded of it; None: nothing."""


class Accounts:
    """Tells of requests."""

    def __init__(self, metrics: Metrics, settings: Gateway) -> None:
        """Take who counts, and what is to be logged."""
        self._metrics = metrics
        self._settings = settings

    def close(self, exchange: Exchange, response: web.StreamResponse | None) -> None:
        """Tell of one that is over; None: its client left before the answer began."""
        now = time.perf_counter()
        status = CLIENT_LEFT if response is None else response.status
        # What leaves in one piece leaves now.
        first = (response.head_at if type(response) is Pieces else 0.0) or now
        self._metrics.count_request(
            exchange.operation,
            status,
            exchange.source,
            first_byte=first - exchange.started,
            last_byte=now - exchange.started,
            bucket=exchange.bucket,
            received=exchange.received,
            sent=exchange.sent,
        )
        if exchange.span is not None:
            _tell(exchange.span, exchange, status)
        wanted = self._settings.access_log
        if wanted == "all" or (wanted == "errors" and status >= 400):
            self._log(exchange, status, now - exchange.started)

    def refused(self, status: int) -> None:
        """Tell of what was no HTTP, and so no request."""
        self._metrics.count_request("", status, "door", first_byte=0.0, last_byte=0.0)

    def handshake_failed(self) -> None:
        """Tell of a connection that did not come to a request."""
        self._metrics.handshake_failures.inc()

    @staticmethod
    def _log(exchange: Exchange, status: int, seconds: float) -> None:
        path = unquote(exchange.path[:MAX_PATH], errors="backslashreplace")
        fields = {
            "request": exchange.id,
            "method": exchange.method,
            "path": path,
            "operation": exchange.operation,
            "status": status,
            "source": exchange.source,
            "seconds": round(seconds, 6),
            "received": exchange.received,
            "sent": exchange.sent,
        }
        name, source = exchange.operation or "unknown", exchange.source
        milliseconds = f"{seconds * 1000:.1f} ms"
        text = f"{exchange.id} {exchange.method} {path}: {name} {status} by {source} in {milliseconds}"
        log.info("%s", text, extra={"fields": fields})


def _tell(span: Span, exchange: Exchange, status: int) -> None:
    """Say what came of a request that is recorded. Its path and its query are left out: the one holds a key, the other
    a signature."""
    known: dict[str, spans.Value] = {
        spans.METHOD: exchange.method,
        spans.STATUS: status,
        spans.SOURCE: exchange.source,
        spans.REQUEST_ID: exchange.id,
        "http.request.body.size": exchange.received,
        "http.response.body.size": exchange.sent,
    }
    if exchange.bucket:
        known[spans.BUCKET] = exchange.bucket
    if exchange.key:
        known[spans.KEY] = exchange.key
    if is_failed := status >= 500:
        known[spans.ERROR] = str(status)
    span.tell(known, name=exchange.operation or exchange.method, failed=is_failed)
