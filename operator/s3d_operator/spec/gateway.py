"""The spec of an S3Gateway as a model: its parts, and the rules that span them."""

from typing import ClassVar, Literal

from pydantic import Field

from s3d.settings import Gateway as Daemon
from s3d.settings import Remote as RemoteSettings
from s3d_operator.schema import Resource, Rule, compare, help_of
from s3d_operator.spec.door import Access, Cors, Tls
from s3d_operator.spec.fuse_mount import FuseMount
from s3d_operator.spec.opa import Opa
from s3d_operator.spec.read_cache import ReadCache
from s3d_operator.spec.remote import Bucket, Remote
from s3d_operator.spec.selector import LabelSelector
from s3d_operator.spec.sidecar import Drain, Resources
from s3d_operator.spec.telemetry import Telemetry
from s3d_operator.spec.volume import EmptyDir, Volume
from s3d_operator.spec.write_queue import WriteQueue

SIZED = (("emptyDir", "sizeLimit"), ("ephemeral", "size"))
"""The volumes that say how large they are, and where."""
# What a volume has to hold beside the cache, as CEL.
QUEUE_SIZE = "self.writeQueue.maxSize"
ROOM = "'512Mi'"


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
    fuse_mount: FuseMount = Field(
        default=FuseMount(), description="The buckets as directories in the containers of a pod, by FUSE."
    )
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
        *(
            Rule(
                f"!self.fuseMount.enabled || {' || '.join(f'!self.{part}.enabled' for part in parts)} || "
                f"!has(self.volume.{kind}) || "
                + compare(
                    "self.fuseMount.maxSize",
                    "<=",
                    f"self.volume.{kind}.{size}",
                    add=(*(f"self.{part}.maxSize" for part in parts), ROOM),
                ),
                f"volume.{kind}.{size} has to be at least fuseMount.maxSize, "
                f"{', '.join(f'{part}.maxSize' for part in parts)} and 512Mi together",
            )
            for kind, size in SIZED
            for parts in (("writeQueue",), ("readCache",), ("writeQueue", "readCache"))
        ),
        Rule(
            "!self.drain.job || !self.fuseMount.enabled",
            "drain.job is not for a gateway with fuseMount: its queue is root's, and a Job does not run as root",
        ),
        Rule(
            "!self.drain.job || has(self.volume.persistentVolumeClaim)",
            "drain.job needs volume.persistentVolumeClaim: any other volume goes with its pod",
        ),
    )
