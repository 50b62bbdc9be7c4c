"""The custom resources as Python sees them: pydantic models of `spec`, named in snake_case.

A field that becomes a setting of the daemon takes its description from `s3d.config`, so that the schema, the CLI and
the documentation say the same. Only what something implements is in here. Rules that span fields are CEL, on the model
that they judge (`rules`), and are enforced by the API server alone: there is no webhook for the resources themselves.
"""

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from s3d.config import Gateway as Daemon
from s3d.config import Remote as RemoteSettings
from s3d.config import Section
from s3d.config import WriteQueue as WriteQueueSettings
from s3d.errors import ConfigError

GROUP = "s3d.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

# Label and annotations of a pod, label of a namespace.
INJECT = f"{GROUP}/inject"
INJECTION = f"{GROUP}/injection"
GATEWAY = f"{GROUP}/gateway"
ENDPOINT_ENV = f"{GROUP}/endpoint-env"
INJECTED = f"{GROUP}/injected"
ORIGINAL_GRACE = f"{GROUP}/termination-grace-period-seconds"

DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


class Rule(NamedTuple):
    """A CEL rule and what a person reads when it is broken."""

    rule: str
    message: str


class Resource(BaseModel):
    """A part of a custom resource."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, alias_generator=to_camel, validate_default=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Let the schema carry the rules."""
        schema = handler.resolve_ref_schema(handler(core))
        if cls.rules:
            schema["x-kubernetes-validations"] = [rule._asdict() for rule in cls.rules]
        return schema


def quantity(pattern: str) -> Any:
    """The schema of a Kubernetes quantity that `pattern` narrows."""
    return WithJsonSchema({"x-kubernetes-int-or-string": True, "minimum": 0, "pattern": pattern, "maxLength": 24})


SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?([kMGT]|[KMGT]i)?$"
Size = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=SIZE_PATTERN, max_length=24)], quantity(SIZE_PATTERN)
]
CPU_PATTERN = r"^[0-9]+(\.[0-9]{1,3}|m)?$"
Cpu = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=CPU_PATTERN, max_length=24)], quantity(CPU_PATTERN)
]
Name = Annotated[str, Field(pattern=DNS_NAME, max_length=253)]
LabelValue = Annotated[str, Field(max_length=63)]


def help_of(section: type[Section], field: str) -> str:
    """The documentation of the setting that a field becomes."""
    return section.model_fields[field].description or ""


class SecretReference(Resource):
    """A Secret of the same namespace."""

    name: Name = Field(
        description="Name of a Secret with the keys accessKeyID, secretAccessKey and, if there is one, sessionToken."
    )


class Anonymous(Resource):
    """No credentials: requests to the remote are not signed."""


class Credentials(Resource):
    """Who the gateway is to the remote; exactly one of the members."""

    secret_ref: SecretReference | None = Field(default=None, description="Access keys from a Secret beside the pod.")
    anonymous: Anonymous | None = Field(default=None, description="Send requests unsigned.")

    rules: ClassVar = (
        Rule(
            "[has(self.secretRef), has(self.anonymous)].exists_one(x, x)",
            "credentials: give exactly one of secretRef and anonymous",
        ),
    )


class Remote(Resource):
    """The S3 store behind the gateway."""

    endpoint: str | None = Field(
        default=None,
        description=help_of(RemoteSettings, "endpoint"),
        pattern=r"^https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~%/-]*)?$",
        max_length=512,
    )
    region: str | None = Field(
        default=None,
        description="Region that requests are signed for, here and in the apps. Unset: us-east-1.",
        pattern=r"^[A-Za-z0-9-]+$",
        max_length=64,
    )
    addressing: Literal["Auto", "Path", "Virtual"] = Field(
        default="Auto",
        description="How buckets are named to the remote. Auto: in the path if `endpoint` is given, else in the host.",
    )
    credentials: Credentials = Field(description="Who the gateway is to the remote; exactly one of the members.")


class Bucket(Resource):
    """A bucket that is known without a look."""

    name: str = Field(description="Name of the bucket.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{2,62}$", max_length=63)


class LabelRequirement(Resource):
    """One requirement of a label selector."""

    key: Annotated[str, Field(max_length=317)] = Field(description="Name of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How the label relates to `values`.")
    values: tuple[LabelValue, ...] = Field(
        default=(), description="Values for In and NotIn; empty for the others.", max_length=64
    )

    rules: ClassVar = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "matchExpressions: In and NotIn take values, Exists and DoesNotExist take none",
        ),
    )


class LabelSelector(Resource):
    """Which pods; all requirements have to hold, an empty selector matches every pod."""

    match_labels: dict[str, LabelValue] = Field(
        default_factory=dict, description="Labels with these values.", max_length=64
    )
    match_expressions: tuple[LabelRequirement, ...] = Field(
        default=(), description="Requirements on labels.", max_length=64
    )


class WriteQueue(Resource):
    """The durable write queue."""

    enabled: bool = Field(default=True, description=help_of(WriteQueueSettings, "enabled"))
    max_size: Size = Field(default="1Gi", description=help_of(WriteQueueSettings, "max_size"))
    max_files: int = Field(default=100_000, description=help_of(WriteQueueSettings, "max_files"), ge=1, le=100_000_000)
    wait_seconds: int = Field(default=30, description=help_of(WriteQueueSettings, "wait"), ge=0, le=3600)


class EmptyDir(Resource):
    """A volume that dies with its pod."""

    size_limit: Size = Field(
        default="3Gi", description="The kubelet evicts a pod whose volume outgrows this, at once and without a drain."
    )


class Volume(Resource):
    """Where the gateway keeps what has to survive a crash."""

    empty_dir: EmptyDir = Field(
        default=EmptyDir(),
        description="A volume of the node: it survives the sidecar's crash, not the pod's deletion.",
    )


class Drain(Resource):
    """The end of a pod."""

    seconds: int = Field(
        default=60,
        description=help_of(Daemon, "drain") + " The pod's grace period is its own and this and 5 s more.",
        ge=0,
        le=86_400,
    )


class Requests(Resource):
    """What the sidecar is scheduled with."""

    cpu: Cpu = Field(default="50m", description="Processor time.")
    memory: Size = Field(default="64Mi", description="Memory.")


class Limits(Resource):
    """What the sidecar may not exceed."""

    cpu: Cpu | None = Field(default=None, description="Processor time. Unset: no limit.")
    memory: Size = Field(default="256Mi", description="Memory; the gateway itself stays below 150 MB.")


class Resources(Resource):
    """Resources of the sidecar."""

    requests: Requests = Field(default=Requests(), description="What the sidecar is scheduled with.")
    limits: Limits = Field(default=Limits(), description="What the sidecar may not exceed.")

    rules: ClassVar = (
        Rule(
            "quantity(string(self.limits.memory)).compareTo(quantity(string(self.requests.memory))) >= 0",
            "resources: limits.memory is below requests.memory",
        ),
        Rule(
            "!has(self.limits.cpu)"
            " || quantity(string(self.limits.cpu)).compareTo(quantity(string(self.requests.cpu))) >= 0",
            "resources: limits.cpu is below requests.cpu",
        ),
    )


class S3GatewaySpec(Resource):
    """A gateway to an S3 store, as a sidecar of every pod that it selects."""

    remote: Remote = Field(description="The S3 store behind the gateway.")
    buckets: tuple[Bucket, ...] = Field(
        default=(),
        description=help_of(RemoteSettings, "buckets"),
        max_length=256,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    pod_selector: LabelSelector | None = Field(
        default=None, description="Which of the pods that opted in. Unset: all of the namespace."
    )
    write_queue: WriteQueue = Field(default=WriteQueue(), description="The durable write queue.")
    volume: Volume = Field(default=Volume(), description="Where the gateway keeps what has to survive a crash.")
    app_credentials: Literal["None", "Dummy"] = Field(
        default="None",
        description="Dummy: containers without any AWS identity get access keys that mean nothing, since stock SDKs "
        "refuse to start without; the gateway signs with its own.",
    )
    drain: Drain = Field(default=Drain(), description="The end of a pod.")
    resources: Resources = Field(default=Resources(), description="Resources of the sidecar.")

    rules: ClassVar = (
        Rule(
            "!self.writeQueue.enabled || quantity(string(self.writeQueue.maxSize)).add(quantity('512Mi'))"
            ".compareTo(quantity(string(self.volume.emptyDir.sizeLimit))) <= 0",
            "volume.emptyDir.sizeLimit has to be at least writeQueue.maxSize and 512Mi: the kubelet evicts a pod whose "
            "volume outgrows its limit, and what is queued is lost",
        ),
    )


class Condition(Resource):
    """One aspect of a resource's state, as Kubernetes' API conventions define it."""

    type: str = Field(description="Aspect that this is about, in CamelCase.", max_length=316)
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int = Field(description="Generation of the spec that this was judged by.", ge=0)
    last_transition_time: Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})] = Field(
        description="When `status` last changed."
    )
    reason: str = Field(description="Why, in one CamelCase word.", min_length=1, max_length=1024)
    message: str = Field(description="Why, for a person, with what can be done.", max_length=32768)


class S3GatewayStatus(Resource):
    """What the operator has seen of a gateway."""

    observed_generation: int | None = Field(default=None, description="Generation of the spec last looked at.", ge=0)
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Accepted: the spec can be used.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


def parse_gateway(raw: dict[str, Any]) -> S3GatewaySpec:
    """Read the spec of an S3Gateway as the API server gave it.

    Raises ConfigError naming each field that cannot be used: one whose CRD is of another version of this operator.
    """
    try:
        return S3GatewaySpec.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            problems, hint="the CustomResourceDefinition and the operator are of different versions; upgrade both"
        ) from None
