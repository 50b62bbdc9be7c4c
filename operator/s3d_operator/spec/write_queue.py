"""The part of a spec about the write queue."""

from typing import ClassVar, Literal

from pydantic import Field

from s3d.settings import Gateway as Daemon
from s3d.settings import WriteQueue as WriteQueueSettings
from s3d_operator.schema import MAX_RULES, FilterRule, Resource, Rule, Size, compare, help_of


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
