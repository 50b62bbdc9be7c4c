"""The status of a SyncFolder as a model: what the operator has seen, named in snake_case."""

from pydantic import Field

from s3d_operator.gateway_status import Condition
from s3d_operator.schema import Count, Resource, Time


class FolderPods(Resource):
    """The pods of a folder."""

    synced: Count = Field(default=0, description="Pods that have the folder.")
    outdated: Count = Field(default=0, description="Those of them that were made by another spec.")
    halted: Count = Field(default=0, description="Pods that delete and replace nothing until a person decides.")
    unreachable: Count = Field(default=0, description="Pods whose gateway runs and does not answer the operator.")


class SyncFolderStatus(Resource):
    """What the operator has seen of a folder."""

    observed_at: Time | None = Field(
        default=None,
        description="When the operator last confirmed this status, to a minute. If that is long ago, no operator "
        "runs, or it cannot write, and the status may be wrong.",
    )
    observed_generation: int | None = Field(default=None, description="Generation of the spec last looked at.", ge=0)
    pods: FolderPods | None = Field(default=None, description="The pods of the folder.")
    files: Count | None = Field(
        default=None,
        description="Files that a pod and the remote both have; of several pods the fewest. Unset: no pod says it.",
    )
    unsent: Count | None = Field(
        default=None, description="Files that are not in the queue of their gateway yet, in all pods that say it."
    )
    conflicts: Count | None = Field(
        default=None,
        description="Files that were changed on both sides and are kept twice, since the start of each pod's gateway.",
    )
    left_alone: Count | None = Field(
        default=None, description="Names that are not synced, in all pods: `s3d sync left` in the pod says why."
    )
    equal_at: Time | None = Field(
        default=None, description="When both sides of all pods were last found to be equal, to a minute."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready, Synced, Halted.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
