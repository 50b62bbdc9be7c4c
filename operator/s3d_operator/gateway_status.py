"""The status of an S3Gateway as a model: what the operator has seen, named in snake_case."""

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from s3d_operator.schema import Count, Name, Resource, Time


class Condition(Resource):
    """One aspect of a resource's state, as Kubernetes' API conventions define it."""

    type: str = Field(description="Aspect that this is about, in CamelCase.", max_length=316)
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int = Field(description="Generation of the spec that this was judged by.", ge=0)
    last_transition_time: Time = Field(description="When `status` last changed.")
    reason: str = Field(description="Why, in one CamelCase word.", min_length=1, max_length=1024)
    message: str = Field(description="Why, for a person, with what can be done.", max_length=32768)


class Pods(Resource):
    """The pods of a gateway."""

    injected: Count = Field(default=0, description="Pods that have the gateway.")
    outdated: Count = Field(
        default=0,
        description="Those of them that were made by another spec, or with another image of the sidecar; what is "
        "reloaded does not count.",
    )
    uninjected: Count = Field(default=0, description="Pods that opted in, would get this gateway and run without it.")
    unreachable: Count = Field(default=0, description="Pods whose gateway runs and does not answer the operator.")


class PendingChanges(Resource):
    """What is accepted and not in the remote yet, in all pods; pods that do not answer count with their last report."""

    changes: Count = Field(default=0, description="Writes and deletes.")
    bytes: Count = Field(default=0, description="Bytes of the writes.")
    oldest_age_seconds: Count | None = Field(
        default=None,
        description="Age of the oldest undelivered change; parked and held ones do not count. Unset: there is none.",
    )
    oldest_since: Time | None = Field(default=None, description="Since when that change waits.")
    parked: Count = Field(default=0, description="Changes that the remote refused for good: a person has to decide.")


Toleration = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]


class LastPod(Resource):
    """How the last pod ran that had a claim. A drain job runs the same way."""

    uid: str = Field(description="Which pod that was.")
    created: Time | None = Field(default=None, description="When it was made.")
    service_account_name: str = Field(default="", description="Its service account.")
    fs_group: int | None = Field(default=None, description="The group that its volumes belong to.")
    run_as_user: int | None = Field(
        default=None, description="The user of its gateway, whose the queue is. Unset: that of any gateway."
    )
    image_pull_secrets: tuple[str, ...] = Field(
        default=(), description="Secrets that its images are pulled with.", max_length=64
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict,
        description="Labels of the nodes that it may run on.",
        max_length=64,
        # Merged by its keys, a map whose last one goes is null after a server-side apply, and refused.
        json_schema_extra={"x-kubernetes-map-type": "atomic"},
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), description="Taints of nodes that it tolerates.", max_length=64
    )


class ClaimStatus(Resource):
    """A claim of the gateway's pods. One that holds nothing and that no pod has or had is not listed."""

    claim_name: Name = Field(description="Name of the PersistentVolumeClaim.")
    in_use: bool = Field(default=False, description="Whether a pod has it; what is pending in it is that pod's then.")
    changes: Count | None = Field(default=None, description="Changes that the last pod left in it. Unset: not known.")
    bytes: Count | None = Field(default=None, description="Bytes of them.")
    parked: Count | None = Field(default=None, description="Those of them that are parked.")
    job: str | None = Field(default=None, description="The drain job that delivers them.", max_length=63)
    last_pod: LastPod = Field(description="How the last pod ran that had it.")


class LostChanges(Resource):
    """Changes that were accepted and went with their pod, or their claim, before they were delivered."""

    changes: Count = Field(description="How many, as far as pods have reported it.")
    bytes: Count = Field(default=0, description="Bytes of them.")
    since: Time = Field(description="When the first loss was seen.")
    last: Time = Field(description="When the last one was.")
    counted: tuple[Annotated[str, Field(max_length=63)], ...] = Field(
        default=(),
        description="Pods, by uid, that are over and still there, and whose loss is in the counts.",
        max_length=1024,
    )


class S3GatewayStatus(Resource):
    """What the operator has seen of a gateway."""

    observed_at: Time | None = Field(
        default=None,
        description="When the operator last confirmed this status, to a minute. If that is long ago, no operator "
        "runs, or it cannot write, and the status may be wrong.",
    )
    observed_generation: int | None = Field(default=None, description="Generation of the spec last looked at.", ge=0)
    pods: Pods | None = Field(default=None, description="The pods of the gateway.")
    pending: PendingChanges | None = Field(default=None, description="What is not in the remote yet.")
    lost: LostChanges | None = Field(
        default=None,
        description="What was lost while the operator ran; unset: nothing. It stays until somebody removes it from the "
        "status.",
    )
    claims: tuple[ClaimStatus, ...] = Field(
        default=(),
        description="Claims that pods have or had, also pods that are over, or in which something is pending.",
        max_length=1024,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["claimName"]},
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready, Accepted, CredentialsResolved, RemoteReachable, SettingsAccepted, DataAtRisk, Conflicted; "
        "Mounted where there is a mount.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
