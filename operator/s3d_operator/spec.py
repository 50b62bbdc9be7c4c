"""The spec of an S3Gateway as a model, named in snake_case.

A field that becomes a setting of the daemon takes its description from `s3d.config`, so that the schema, the CLI and
the documentation say the same. Only what something implements is in here. There is no webhook for the resources
themselves.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from s3d.settings import Gateway as Daemon
from s3d.settings import ReadCache as ReadCacheSettings
from s3d.settings import Remote as RemoteSettings
from s3d.settings import WriteQueue as WriteQueueSettings
from s3d_operator.door_spec import Access, Cors, Tls
from s3d_operator.policy_spec import Opa
from s3d_operator.references import CaBundle, IdentitiesSecret, SecretReference
from s3d_operator.schema import (
    BUCKET_PATTERN,
    ENDPOINT_PATTERN,
    LABEL_PATTERN,
    REGION_PATTERN,
    ROLE_PATTERN,
    Cpu,
    FilterRule,
    Name,
    Resource,
    Rule,
    Size,
    compare,
    help_of,
)
from s3d_operator.selector import LabelSelector
from s3d_operator.telemetry_spec import Telemetry

# Rules of a filter: the API server has to know a bound.
MAX_RULES = 256
# What a volume has beside the queue, as CEL.
SIZED = (("emptyDir", "sizeLimit"), ("ephemeral", "size"))
"""The volumes that say how large they are, and where."""
QUEUE_SIZE = "self.writeQueue.maxSize"
ROOM = "'512Mi'"


class WebIdentity(Resource):
    """A role that the pod's service account may assume by its token (IRSA). Token and variables are ours."""

    role_arn: str = Field(
        alias="roleARN",
        description="The role, such as arn:aws:iam::123456789012:role/photos. Its trust policy has to allow the pod's "
        "service account.",
        pattern=ROLE_PATTERN,
        max_length=2048,
    )
    audience: str = Field(
        default="sts.amazonaws.com",
        description="The audience of the token, as the role's trust policy expects it.",
        min_length=1,
        max_length=253,
    )
    sts_endpoint: str | None = Field(
        default=None,
        description="URL of the token service (STS) that exchanges the token for keys, such as that of a store outside "
        "AWS. It has to know the cluster's issuer of tokens. Unset: AWS STS in the region.",
        pattern=ENDPOINT_PATTERN,
        max_length=512,
    )
    expiration_seconds: int = Field(
        default=3600, description="How long a token is valid; the kubelet renews it in time.", ge=600, le=86_400
    )

    rules: ClassVar = (
        Rule(
            "has(self.stsEndpoint) || !self.roleARN.matches('^arn:[^:]*:iam::[^:]*:role/') || "
            "self.roleARN.matches('^arn:[^:]*:iam::[0-9]{12}:')",
            "webIdentity.roleARN: the account in a role of AWS is 12 digits; a role of another store needs stsEndpoint",
        ),
    )


class PodIdentity(Resource):
    """EKS Pod Identity: the agent of the node gives keys for the pod's service account. The token is ours."""


class Anonymous(Resource):
    """No credentials: requests to the remote are not signed."""


class Credentials(Resource):
    """How the gateway authenticates to the remote; exactly one of the members."""

    secret_ref: SecretReference | None = Field(
        default=None,
        description="Access keys from a Secret of the pod's namespace. Changed keys are used without a restart.",
    )
    web_identity: WebIdentity | None = Field(
        default=None,
        description="A role of AWS, or of a store with a token service of its own, by a token of the pod's service "
        "account (IRSA).",
    )
    pod_identity: PodIdentity | None = Field(
        default=None, description="Keys from the EKS Pod Identity agent, for the pod's service account."
    )
    anonymous: Anonymous | None = Field(default=None, description="Send requests unsigned.")

    rules: ClassVar = (
        Rule(
            "[has(self.secretRef), has(self.webIdentity), has(self.podIdentity), has(self.anonymous)].exists_one(x, x)",
            "credentials: give exactly one of secretRef, webIdentity, podIdentity and anonymous",
        ),
    )


class Identities(Resource):
    """Identities by which a gateway acts at the remote, beside its own."""

    secret_ref: IdentitiesSecret = Field(
        description="A Secret of the pod's namespace with the identities as JSON (docs/IDENTITIES.md). Changed ones "
        "are used without a restart."
    )


class Remote(Resource):
    """The S3 store behind the gateway."""

    endpoint: str | None = Field(
        default=None,
        description=help_of(RemoteSettings, "endpoint"),
        pattern=ENDPOINT_PATTERN,
        max_length=512,
    )
    region: str | None = Field(
        default=None,
        description="Region that requests are signed for, here and in the apps. Unset: us-east-1.",
        pattern=REGION_PATTERN,
        max_length=64,
    )
    addressing: Literal["Auto", "Path", "Virtual"] = Field(
        default="Auto",
        description="How requests name the bucket. Auto: in the path if `endpoint` is given, else in the host name.",
    )
    checksums: Literal["WhenSupported", "WhenRequired"] = Field(
        default="WhenSupported",
        description="WhenRequired: a trailing checksum is verified here, and not sent on to a remote that refuses "
        "trailers.",
    )
    ca_bundle: CaBundle | None = Field(
        default=None,
        description="Which authorities to trust for the certificates of `endpoint` and `stsEndpoint`. Unset: those of "
        "the image.",
    )
    away_after_seconds: int = Field(default=5, description=help_of(RemoteSettings, "away_after"), ge=1, le=300)
    request_timeout_seconds: int = Field(
        default=120, description=help_of(RemoteSettings, "request_timeout"), ge=1, le=3600
    )
    admin_api: bool = Field(default=False, alias="adminAPI", description=help_of(Daemon, "admin_api"))
    credentials: Credentials = Field(
        description="How the gateway authenticates to the remote; exactly one of the members."
    )
    identities: Identities | None = Field(
        default=None,
        description="Accounts, users or roles of the remote for which access keys may stand. Unset: all act as the "
        "gateway.",
    )

    rules: ClassVar = (
        Rule(
            "!has(self.caBundle) || !has(self.endpoint) || self.endpoint.startsWith('https://') || "
            "(has(self.credentials.webIdentity) && has(self.credentials.webIdentity.stsEndpoint) && "
            "self.credentials.webIdentity.stsEndpoint.startsWith('https://'))",
            "remote.caBundle is for an endpoint or an stsEndpoint that begins with https://",
        ),
    )


class Bucket(Resource):
    """A bucket that is assumed to exist."""

    name: str = Field(description="Name of the bucket.", pattern=BUCKET_PATTERN, max_length=63)


class WriteQueue(Resource):
    """The durable write queue."""

    enabled: bool = Field(default=True, description=help_of(WriteQueueSettings, "enabled"))
    max_size: Size = Field(default="1Gi", description=help_of(WriteQueueSettings, "max_size"))
    max_files: int = Field(default=100_000, description=help_of(WriteQueueSettings, "max_files"), ge=1, le=100_000_000)
    max_age_seconds: int = Field(default=0, description=help_of(WriteQueueSettings, "max_age"), ge=0, le=31_536_000)
    wait_seconds: int = Field(default=30, description=help_of(WriteQueueSettings, "wait"), ge=0, le=3600)
    delay_seconds: int = Field(default=0, description=help_of(WriteQueueSettings, "delay"), ge=0, le=86_400)
    versioned: Literal["WriteThrough", "Queue"] = Field(
        default="WriteThrough", description=help_of(WriteQueueSettings, "versioned")
    )
    unverified_writes: Literal["Accept", "Reject"] = Field(
        default="Accept", description=help_of(WriteQueueSettings, "unverified_writes")
    )
    conflict: Literal["Overwrite", "Park"] = Field(
        default="Overwrite", description=help_of(WriteQueueSettings, "conflict")
    )
    conflict_check_after_seconds: int = Field(
        default=5, description=help_of(WriteQueueSettings, "conflict_check_after"), ge=0, le=86_400
    )
    barrier_seconds: int = Field(default=25, description=help_of(Daemon, "barrier_timeout"), ge=0, le=3600)
    late_write_window_seconds: int = Field(
        default=900, description=help_of(WriteQueueSettings, "late_write_window"), ge=0, le=86_400
    )
    max_upload_age_seconds: int = Field(
        default=86_400, description=help_of(WriteQueueSettings, "max_upload_age"), ge=60, le=31_536_000
    )
    max_uploads: int = Field(default=10_000, description=help_of(WriteQueueSettings, "max_uploads"), ge=1, le=1_000_000)
    filter: tuple[FilterRule, ...] = Field(
        default=(), description=help_of(WriteQueueSettings, "filter"), max_length=MAX_RULES
    )
    push_filter: tuple[FilterRule, ...] = Field(
        default=(), description=help_of(WriteQueueSettings, "push_filter"), max_length=MAX_RULES
    )
    ballast: Size = Field(default="16Mi", description=help_of(WriteQueueSettings, "ballast"))
    workers: int = Field(default=16, description=help_of(WriteQueueSettings, "workers"), ge=1, le=1024)

    rules: ClassVar = (
        Rule(
            compare("self.maxSize", ">=", "'1Mi'"),
            "writeQueue.maxSize is below 1Mi: most writes would go past the queue; enabled: false switches it off",
        ),
        Rule(
            compare("self.ballast", "<=", "'256Mi'"),
            "writeQueue.ballast is above 256Mi: it has to fit into the volume beside the queue",
        ),
    )


class ReadCache(Resource):
    """The read cache, on the gateway's volume."""

    enabled: bool = Field(default=False, description=help_of(ReadCacheSettings, "enabled"))
    filter: tuple[FilterRule, ...] = Field(
        default=(), description=help_of(ReadCacheSettings, "filter"), max_length=MAX_RULES
    )
    max_size: Size = Field(default="1Gi", description=help_of(ReadCacheSettings, "max_size"))
    max_files: int = Field(default=100_000, description=help_of(ReadCacheSettings, "max_files"), ge=1, le=100_000_000)
    max_names: int = Field(default=100_000, description=help_of(ReadCacheSettings, "max_names"), ge=0, le=100_000_000)
    max_age_seconds: int = Field(default=0, description=help_of(ReadCacheSettings, "max_age"), ge=0, le=31_536_000)
    fresh_seconds: int = Field(default=0, description=help_of(ReadCacheSettings, "fresh_for"), ge=0, le=31_536_000)
    max_stale_seconds: int = Field(
        default=86_400, description=help_of(ReadCacheSettings, "max_stale"), ge=0, le=31_536_000
    )
    validate_timeout_seconds: int = Field(
        default=1, description=help_of(ReadCacheSettings, "validate_timeout"), ge=1, le=120
    )

    rules: ClassVar = (
        Rule(
            compare("self.maxSize", ">=", "'1Mi'"),
            "readCache.maxSize is below 1Mi: nothing would be cached; enabled: false switches it off",
        ),
    )


class EmptyDir(Resource):
    """A volume that dies with its pod."""

    size_limit: Size = Field(
        default="3Gi",
        description="Size limit. The kubelet evicts a pod whose volume outgrows it, at once and without a drain.",
    )


class Claim(Resource):
    """A claim: what is pending in it outlives the pod, and the next pod that mounts it goes on."""

    claim_name: Name | None = Field(
        default=None,
        description="A PersistentVolumeClaim of the namespace, for one pod at a time: a second one waits.",
    )
    template: Annotated[str, Field(pattern=LABEL_PATTERN, max_length=63)] | None = Field(
        default=None,
        description="Name of a volumeClaimTemplate of the pod's StatefulSet: each of its pods has a claim of its own.",
    )

    rules: ClassVar = (
        Rule(
            "has(self.claimName) != has(self.template)",
            "volume.persistentVolumeClaim: give exactly one of claimName and template",
        ),
    )


class Ephemeral(Resource):
    """A claim that is made for the pod and dies with it, as an emptyDir does."""

    storage_class_name: Name | None = Field(
        default=None, description="StorageClass of the claim. Unset: the cluster's default."
    )
    size: Size = Field(default="3Gi", description="Size of the claim.")


class Volume(Resource):
    """Where the gateway keeps what has to survive a crash; exactly one of the members."""

    empty_dir: EmptyDir | None = Field(
        default=None,
        description="A volume of the node: it survives the sidecar's crash, not the pod's deletion.",
    )
    persistent_volume_claim: Claim | None = Field(
        default=None,
        description="A claim: it outlives the pod. For one pod at a time, or for the pods of a StatefulSet. Where the "
        "storage belongs to root, the pod needs an fsGroup.",
    )
    ephemeral: Ephemeral | None = Field(
        default=None, description="A claim that is made for the pod and dies with it, as an emptyDir does."
    )

    rules: ClassVar = (
        Rule(
            "[has(self.emptyDir), has(self.persistentVolumeClaim), has(self.ephemeral)].exists_one(x, x)",
            "volume: give exactly one of emptyDir, persistentVolumeClaim and ephemeral",
        ),
    )

    @property
    def size(self) -> int | str | None:
        """How much fits into it; None where only the cluster knows."""
        if self.empty_dir:
            return self.empty_dir.size_limit
        return self.ephemeral.size if self.ephemeral else None

    @property
    def outlives(self) -> bool:
        """Whether what is in it is there after its pod has gone."""
        return self.persistent_volume_claim is not None


class Drain(Resource):
    """The end of a pod."""

    seconds: int = Field(
        default=60,
        description=help_of(Daemon, "drain") + " The pod's grace period is its own and this and 5 s more.",
        ge=0,
        le=86_400,
    )
    job: bool = Field(
        default=False,
        description="Start a Job that delivers what a deleted pod left in its claim, instead of waiting for the next "
        "pod. The administrator has to allow it for the namespace: drain.jobs.namespaces of the chart.",
    )


class Requests(Resource):
    """What the sidecar requests."""

    cpu: Cpu = Field(default="50m", description="Processor time.")
    memory: Size = Field(default="64Mi", description="Memory.")


class Limits(Resource):
    """What the sidecar may not exceed."""

    cpu: Cpu | None = Field(default=None, description="Processor time. Unset: no limit.")
    memory: Size = Field(default="256Mi", description="Memory; the gateway itself stays below 150 MB.")


class Resources(Resource):
    """Resources of the sidecar."""

    requests: Requests = Field(default=Requests(), description="What the sidecar requests.")
    limits: Limits = Field(default=Limits(), description="What the sidecar may not exceed.")
    quality: Literal["Burstable", "Guaranteed"] = Field(
        default="Burstable",
        description="Guaranteed: the requests are the limits, so that a pod of that class stays one.",
    )

    rules: ClassVar = (
        Rule(
            "self.quality != 'Guaranteed' || has(self.limits.cpu)",
            "resources: quality Guaranteed needs limits.cpu, since the requests are the limits",
        ),
        Rule(
            f"self.quality == 'Guaranteed' || {compare('self.limits.memory', '>=', 'self.requests.memory')}",
            "resources: limits.memory is below requests.memory",
        ),
        Rule(
            "!has(self.limits.cpu) || self.quality == 'Guaranteed' || "
            + compare("self.limits.cpu", ">=", "self.requests.cpu"),
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
    read_cache: ReadCache = Field(default=ReadCache(), description="The read cache.")
    volume: Volume = Field(
        default=Volume(empty_dir=EmptyDir()), description="Where the gateway keeps what has to survive a crash."
    )
    access: Access | None = Field(
        default=None,
        description="Who may use the gateway of a pod. Unset: each container of the pod, without keys.",
    )
    opa: Opa | None = Field(default=None, description="A policy that says what may leave. Unset: nobody is asked.")
    telemetry: Telemetry | None = Field(
        default=None, description="A collector of OpenTelemetry. Unset: nothing is recorded or sent."
    )
    tls: Tls | None = Field(
        default=None, description="TLS between a pod's containers and its gateway. Unset: plain HTTP."
    )
    cors: Cors | None = Field(
        default=None,
        description="One CORS rule for every bucket. Unset: the rules of each bucket, as the remote has them.",
    )
    app_credentials: Literal["None", "Dummy", "Generated"] = Field(
        default="None",
        description="For containers without any AWS identity. Dummy: dummy access keys, since AWS SDKs refuse to start "
        "without keys; the gateway signs with its own. Generated: the sidecar makes an access key for its pod and "
        "gives it to them in a file; requests that no key signs are refused.",
    )
    drain: Drain = Field(default=Drain(), description="The end of a pod.")
    resources: Resources = Field(default=Resources(), description="Resources of the sidecar.")
    log_level: Literal["Debug", "Info", "Warning", "Error"] = Field(
        default="Info", description=help_of(Daemon, "log_level")
    )
    access_log: Literal["Off", "Errors", "All"] = Field(default="Off", description=help_of(Daemon, "access_log"))

    rules: ClassVar = (
        *(
            Rule(
                f"!self.writeQueue.enabled || !has(self.volume.{kind})"
                f" || {compare('self.writeQueue.maxSize', '<=', f'self.volume.{kind}.{size}', add=(ROOM,))}",
                f"volume.{kind}.{size} has to be at least writeQueue.maxSize and 512Mi: {why}",
            )
            for kind, size, why in (
                (
                    "emptyDir",
                    "sizeLimit",
                    "the kubelet evicts a pod whose volume outgrows its limit, and what is queued is lost",
                ),
                ("ephemeral", "size", "a full volume fails writes before the queue's own limit does"),
            )
        ),
        *(
            Rule(
                f"!self.readCache.enabled || !has(self.volume.{kind})"
                f" || {compare('self.readCache.maxSize', '<=', f'self.volume.{kind}.{size}', add=(ROOM,))}",
                f"volume.{kind}.{size} has to be at least readCache.maxSize and 512Mi",
            )
            for kind, size in SIZED
        ),
        *(
            Rule(
                f"!self.readCache.enabled || !self.writeQueue.enabled || !has(self.volume.{kind}) || "
                + compare("self.readCache.maxSize", "<=", f"self.volume.{kind}.{size}", add=(QUEUE_SIZE, ROOM)),
                f"volume.{kind}.{size} has to be at least writeQueue.maxSize, readCache.maxSize and 512Mi together",
            )
            for kind, size in SIZED
        ),
        Rule(
            "!has(self.volume.persistentVolumeClaim) || !has(oldSelf.volume.persistentVolumeClaim) || "
            "(has(self.remote.endpoint) ? self.remote.endpoint : '')"
            " == (has(oldSelf.remote.endpoint) ? oldSelf.remote.endpoint : '')",
            "remote.endpoint is immutable with volume.persistentVolumeClaim: what is pending in the claim is for the "
            "old one; make another S3Gateway",
        ),
        Rule(
            "self.appCredentials != 'Dummy' || !has(self.access)",
            "appCredentials: Dummy keys sign nothing that access.keysSecretRef lets in; Generated makes a key that is "
            "let in",
        ),
        Rule(
            "!has(self.remote.identities) || has(self.access)",
            "remote.identities needs access.keysSecretRef: who acts by which identity is said by the access keys",
        ),
        Rule(
            "!self.drain.job || has(self.volume.persistentVolumeClaim)",
            "drain.job needs volume.persistentVolumeClaim: any other volume goes with its pod",
        ),
    )
