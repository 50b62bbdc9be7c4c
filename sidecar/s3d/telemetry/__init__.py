"""OpenTelemetry: spans of requests and pushes, metrics and the log, sent to a collector by OTLP.

Nothing of it is imported before the settings name a collector, and nobody else imports OpenTelemetry's packages. What
is sent waits in bounded queues for threads of its own: a collector that hangs or is gone costs no request anything.
"""

import importlib.util
import logging
import os
from typing import TYPE_CHECKING

from s3d.metrics import Metrics
from s3d.settings import Telemetry as Settings

if TYPE_CHECKING:
    from s3d.telemetry.service import Telemetry

log = logging.getLogger(__name__)

PACKAGE = "opentelemetry.exporter.otlp.proto.http"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
SPOKEN = "http/protobuf"


def open_telemetry(settings: Settings, metrics: Metrics) -> "Telemetry | None":
    """Begin to send what the settings ask for; None where they ask for nothing, or it cannot be sent."""
    if not settings.endpoint or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    # The variables may be there for other programs: that it does without them is no reason for s3d not to start.
    if (protocol := os.environ.get(PROTOCOL, SPOKEN)) != SPOKEN:
        log.warning("no telemetry is sent: %s is %s, and s3d speaks %s", PROTOCOL, protocol, SPOKEN)
        return None
    if not _is_installed():
        log.warning("no telemetry is sent: OpenTelemetry is not installed; pip install 's3d[otel]' brings it")
        return None
    from s3d.telemetry.service import Telemetry

    return Telemetry(settings, settings.endpoint, metrics)


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec(PACKAGE) is not None
    except ModuleNotFoundError:
        return False
