"""The spec of a SyncFolder as a model, named in snake_case: a folder in a pod's volume, and the prefix that it equals.

A pod names its folders by an annotation. At which remote the prefix is, the gateway says.
"""

from typing import ClassVar, Literal

from pydantic import Field

from s3d.settings import SyncFolder as Settings
from s3d_operator.schema import (
    BUCKET_PATTERN,
    MAX_RULES,
    PLACE_PATTERN,
    PREFIX_PATTERN,
    FilterRule,
    Name,
    Resource,
    Rule,
    Size,
    help_of,
)

IDENTITY = "is immutable: what a pod's folder had in common with the other place would count as deleted here"


class GatewayReference(Resource):
    """An S3Gateway of the same namespace."""

    name: Name = Field(description="Name of the S3Gateway.")


class SyncFolderSpec(Resource):
    """A folder in the volume of a pod that is kept equal with a prefix of a bucket (docs/SYNC.md)."""

    gateway_ref: GatewayReference = Field(
        description="The gateway of the pods, whose remote has the bucket. Changes are sent by its write queue."
    )
    bucket: str = Field(description=help_of(Settings, "bucket"), pattern=BUCKET_PATTERN, max_length=63)
    prefix: str = Field(
        default="",
        description=help_of(Settings, "prefix") + " Unset: the whole bucket.",
        pattern=PREFIX_PATTERN,
        max_length=512,
    )
    mount_path: str = Field(
        description="Where the container of the app mounts the volume that is the folder. The pod has to have such a "
        "mount; what it mounts is synced as a whole. Of the folders that a pod has none is in another.",
        pattern=PLACE_PATTERN,
        max_length=512,
    )
    direction: Literal["Bidirectional", "Push", "Pull"] = Field(
        default="Bidirectional", description=help_of(Settings, "direction")
    )
    filter: tuple[FilterRule, ...] = Field(default=(), description=help_of(Settings, "filter"), max_length=MAX_RULES)
    max_size: Size = Field(default=0, description=help_of(Settings, "max_size"))
    max_files: int = Field(default=0, description=help_of(Settings, "max_files"), ge=0, le=100_000_000)
    max_age_seconds: int = Field(default=0, description=help_of(Settings, "max_age"), ge=0, le=3_153_600_000)
    deletes: Literal["Apply", "Trash", "Ignore"] = Field(default="Apply", description=help_of(Settings, "deletes"))
    poll_seconds: int = Field(default=10, description=help_of(Settings, "poll"), ge=1, le=86_400)
    stable_seconds: int = Field(
        default=1, description="A file is read when nobody has changed it for this long.", ge=1, le=3600
    )
    max_delete_percent: int = Field(
        default=50,
        description="The share of the files beyond which deletes in one look halt the folder, until a person says that "
        "they are meant. Ten files never halt it, unless they are all.",
        ge=0,
        le=100,
    )
    max_delete_files: int = Field(default=1000, description=help_of(Settings, "max_delete_files"), ge=0, le=100_000_000)
    trash_seconds: int = Field(default=604_800, description=help_of(Settings, "trash_for"), ge=0, le=31_536_000)
    wait_for_initial_sync: bool = Field(
        default=False,
        description="The app starts when both sides are equal. While the remote is away it waits, without an end.",
    )

    rules: ClassVar = (
        Rule("self.gatewayRef.name == oldSelf.gatewayRef.name", f"gatewayRef {IDENTITY}; make another SyncFolder"),
        Rule("self.bucket == oldSelf.bucket", f"bucket {IDENTITY}; make another SyncFolder"),
        Rule(
            "(has(self.prefix) ? self.prefix : '') == (has(oldSelf.prefix) ? oldSelf.prefix : '')",
            f"prefix {IDENTITY}; make another SyncFolder",
        ),
        Rule(
            "!self.mountPath.split('/').exists(part, part == '.' || part == '..')",
            "mountPath: . and .. are no names of directories; write the path as the container's mount has it",
        ),
    )
