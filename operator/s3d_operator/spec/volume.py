"""The part of a spec about the volume in which the gateway keeps what has to survive a crash."""

from typing import Annotated, ClassVar

from pydantic import Field

from s3d_operator.schema import LABEL_PATTERN, Name, Resource, Rule, Size


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
