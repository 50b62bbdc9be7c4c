"""The part of a spec that is about telemetry: which collector is sent what."""

from typing import ClassVar, Literal

from pydantic import Field

from s3d.settings import Telemetry as TelemetrySettings
from s3d_operator.schema import ENDPOINT_PATTERN, RATIO_PATTERN, Resource, Rule, help_of
from s3d_operator.spec.references import CaBundle, HeadersSecret

SamplerType = Literal[
    "AlwaysOn",
    "AlwaysOff",
    "TraceIDRatio",
    "ParentBasedAlwaysOn",
    "ParentBasedAlwaysOff",
    "ParentBasedTraceIDRatio",
]
SAMPLERS: dict[SamplerType, str] = {
    "AlwaysOn": "always_on",
    "AlwaysOff": "always_off",
    "TraceIDRatio": "traceidratio",
    "ParentBasedAlwaysOn": "parentbased_always_on",
    "ParentBasedAlwaysOff": "parentbased_always_off",
    "ParentBasedTraceIDRatio": "parentbased_traceidratio",
}
"""What OTEL_TRACES_SAMPLER says of each."""


class Sampler(Resource):
    """Which requests are recorded."""

    type: SamplerType = Field(default="ParentBasedTraceIDRatio", description=help_of(TelemetrySettings, "sampler"))
    ratio: str = Field(
        default="0.01", description="The share of ...TraceIDRatio, from 0 to 1.", pattern=RATIO_PATTERN, max_length=12
    )


class Telemetry(Resource):
    """A collector of OpenTelemetry."""

    endpoint: str = Field(
        description="URL of a collector that takes OTLP over HTTP, such as http://collector.monitoring.svc:4318 "
        "(docs/TELEMETRY.md).",
        pattern=ENDPOINT_PATTERN,
        max_length=512,
    )
    traces: bool = Field(default=True, description=help_of(TelemetrySettings, "traces"))
    metrics: bool = Field(default=True, description=help_of(TelemetrySettings, "metrics"))
    logs: bool = Field(default=False, description=help_of(TelemetrySettings, "logs"))
    keys: bool = Field(default=False, description=help_of(TelemetrySettings, "keys"))
    sampler: Sampler = Field(default=Sampler(), description="Which requests are recorded.")
    ca_bundle: CaBundle | None = Field(
        default=None, description="Which authorities to trust for its certificate. Unset: those of the image."
    )
    headers_secret_ref: HeadersSecret | None = Field(
        default=None,
        description="A Secret of the pod's namespace with headers for the collector, such as a token: NAME=VALUE, a "
        "line each.",
    )

    rules: ClassVar = (
        Rule(
            "!has(self.caBundle) || self.endpoint.startsWith('https://')",
            "telemetry.caBundle is for an endpoint that begins with https://",
        ),
    )
