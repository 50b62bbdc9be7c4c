"""The part of a spec that is about the mount: the buckets as directories in the containers of a pod (docs/MOUNT.md)."""

from typing import ClassVar

from pydantic import Field

from s3d.settings import FuseMount as Settings
from s3d_operator.schema import PLACE_PATTERN, Resource, Rule, Size, compare, help_of


class FuseMount(Resource):
    """The buckets as directories in a pod's containers, by FUSE."""

    enabled: bool = Field(
        default=False,
        description="Mount the buckets. The sidecar is privileged and runs as root then, so the pod's namespace has to "
        "let in privileged pods (docs/MOUNT.md).",
    )
    mount_path: str = Field(
        default="/s3",
        description="Where the containers of the app have the volume of the mount. The buckets are in its directory "
        "`buckets`.",
        pattern=PLACE_PATTERN,
        max_length=512,
    )
    read_only: bool = Field(default=False, description=help_of(Settings, "read_only"))
    max_size: Size = Field(default="1Gi", description=help_of(Settings, "max_size"))
    publish_after_seconds: int = Field(default=60, description=help_of(Settings, "publish_after"), ge=1, le=86_400)
    max_rename: int = Field(default=1000, description=help_of(Settings, "max_rename"), ge=0, le=1_000_000)

    rules: ClassVar = (
        Rule(
            compare("self.maxSize", ">=", "'1Mi'"),
            "fuseMount.maxSize is below 1Mi: hardly a file could be written; readOnly: true lets nothing be written",
        ),
    )
