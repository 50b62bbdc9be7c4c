"""What a collector of OpenTelemetry is sent."""

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from s3d.settings.section import Section, setting
from s3d.settings.values import check_http_url


class Telemetry(Section):
    """What a collector is sent."""

    title = "OpenTelemetry"
    endpoint: str | None = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "URL of a collector that takes OTLP over HTTP, such as http://collector:4318 (docs/TELEMETRY.md). Unset: "
        "nothing is recorded or sent.",
        validate_default=False,
    )
    traces: Literal["otlp", "none"] = setting("OTEL_TRACES_EXPORTER", "otlp", "Whether it is sent traces.")
    metrics: Literal["otlp", "none"] = setting("OTEL_METRICS_EXPORTER", "otlp", "Whether it is sent the metrics.")
    logs: Literal["otlp", "none"] = setting(
        "OTEL_LOGS_EXPORTER", "none", "Whether it is sent the log, too, whose entries name keys of objects."
    )
    sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = setting(
        "OTEL_TRACES_SAMPLER",
        "parentbased_traceidratio",
        "Which requests are recorded: all, none or a share; with parentbased_ those whose traceparent says so, and of "
        "those without one all, none or a share.",
    )
    sampler_arg: float = setting("OTEL_TRACES_SAMPLER_ARG", 0.01, "The share of ...traceidratio.", ge=0, le=1)
    metric_interval: int = setting(
        "OTEL_METRIC_EXPORT_INTERVAL", 60_000, "Milliseconds between two readings of the metrics.", ge=100
    )
    headers_file: Path | None = setting(
        "S3D_OTEL_HEADERS_FILE",
        None,
        "File with headers for the collector, such as a token: NAME=VALUE, a line each. Only its owner may read it, or "
        "a group too where root owns it.",
    )
    keys: bool = setting("S3D_OTEL_KEYS", False, "Name the keys of objects in spans.")

    @field_validator("endpoint")
    @classmethod
    def check_endpoint(cls, value: str | None) -> str | None:
        """Refuse what is not a URL; an empty value is an unset one."""
        return check_http_url(value) if value else None
