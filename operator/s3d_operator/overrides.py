"""What a pod asks for itself by annotations, in place of what its gateway says. Pure."""

import re
from dataclasses import dataclass
from typing import Any

from s3d.errors import ConfigError
from s3d_operator.layout import Object
from s3d_operator.names import POD_OVERRIDES
from s3d_operator.podspec import annotations
from s3d_operator.schema import CPU_PATTERN, SIZE_PATTERN, Cpu, Size

DAY_SECONDS = 86_400
# What the annotations that a pod asks by look like, by the first word of their name.
OVERRIDE_PATTERNS = {
    "cpu": (CPU_PATTERN, "100m or 2"),
    "memory": (SIZE_PATTERN, "256Mi or 1Gi"),
    "drain": (r"\d+", "60"),
}


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a pod asks for itself, by annotations, in place of what its gateway says."""

    cpu_request: Cpu | None = None
    cpu_limit: Cpu | None = None
    memory_request: Size | None = None
    memory_limit: Size | None = None
    drain_seconds: int | None = None


NO_OVERRIDES = Overrides()


def read_overrides(pod: Object) -> Overrides:
    """What a pod asks for itself, in place of what its gateway says. Raises ConfigError."""
    found: dict[str, Any] = {}
    for field, annotation in POD_OVERRIDES.items():
        if (value := annotations(pod).get(annotation)) is None:
            continue
        pattern, example = OVERRIDE_PATTERNS[field.partition("_")[0]]
        if not re.fullmatch(pattern, value, re.ASCII) or len(value) > 24:
            raise ConfigError(f"annotation {annotation}: {value!r} cannot be used", hint=f"write for example {example}")
        found[field] = int(value) if field == "drain_seconds" else value
    if found.get("drain_seconds", 0) > DAY_SECONDS:
        raise ConfigError(
            f"annotation {POD_OVERRIDES['drain_seconds']}: that is too long", hint="the most is a day, 86400"
        )
    return Overrides(**found)
