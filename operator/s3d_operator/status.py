"""What the operator says about a gateway: conditions with reasons and hints. Pure."""

import json
from datetime import UTC, datetime
from typing import Any

from s3d import config
from s3d.errors import ConfigError
from s3d_operator.api import Condition, parse_gateway
from s3d_operator.build import settings

Object = dict[str, Any]


def judge(spec: Object) -> tuple[str, str, str]:
    """Whether a spec can be used, as status, reason and message of the condition Accepted."""
    try:
        values = settings(parse_gateway(spec), grace_seconds=0)
        config.load({"S3D_CONFIG": json.dumps(values)})
    except ConfigError as error:
        return "False", "InvalidSpec", f"{error.message}. {error.hint}".rstrip(". ")
    return "True", "Accepted", "pods that opt in get this gateway"


def status_of(body: Object, now: datetime) -> Object:
    """The status of a gateway; a condition whose status stays keeps its time, conditions of others stay as they are."""
    generation = body["metadata"].get("generation", 0)
    before = (body.get("status") or {}).get("conditions") or []
    same: Object = next((old for old in before if old["type"] == "Accepted"), {})
    state, reason, message = judge(body.get("spec") or {})
    kept = same.get("status") == state
    accepted = Condition(
        type="Accepted",
        status=state,
        observed_generation=generation,
        last_transition_time=same["lastTransitionTime"] if kept else now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        reason=reason,
        message=message,
    )
    others = [old for old in before if old["type"] != "Accepted"]
    return {"observedGeneration": generation, "conditions": [*others, accepted.model_dump(by_alias=True)]}
