"""The durable write queue."""

from pathlib import Path
from typing import Literal

from s3d.settings.section import Section, setting
from s3d.settings.values import Bytes, Duration, Filter


class WriteQueue(Section):
    """The durable write queue."""

    title = "The write queue"
    enabled: bool = setting("S3D_WRITE_QUEUE", True, "Accept writes durably and deliver them in the background.")
    dir: Path | None = setting("S3D_WRITE_QUEUE_DIR", None, "Directory of the queue. Unset: LOCAL_DIR/queue.")
    max_size: Bytes = setting(
        "S3D_WRITE_QUEUE_MAX_SIZE",
        "10Gi",
        "Bytes of the disk that the queue may take: pending bodies, parts of uploads, what is kept for a while after "
        "its delivery, and every row with its headers.",
        reloads=True,
    )
    max_files: int = setting(
        "S3D_WRITE_QUEUE_MAX_FILES",
        1_000_000,
        "Most changes, parts and open uploads that may be pending.",
        reloads=True,
        ge=1,
    )
    max_age: Duration = setting(
        "S3D_WRITE_QUEUE_MAX_AGE",
        0.0,
        "Accept no new writes while the oldest change on its way is older than this. Parked and held ones do not "
        "count. 0 disables the limit.",
        reloads=True,
    )
    ballast: Bytes = setting(
        "S3D_WRITE_QUEUE_BALLAST",
        "16Mi",
        "Disk space reserved for the drain. New writes are refused before it is used up.",
    )
    wait: Duration = setting(
        "S3D_WRITE_QUEUE_WAIT",
        30.0,
        "How long a write waits while the queue is full. Then it is answered 503 SlowDown.",
        reloads=True,
    )
    delay: Duration = setting(
        "S3D_WRITE_QUEUE_DELAY",
        0.0,
        "How long a change waits before its first push. A change that is overwritten in that time is never pushed.",
        reloads=True,
    )
    versioned: Literal["WriteThrough", "Queue"] = setting(
        "S3D_WRITE_QUEUE_VERSIONED",
        "WriteThrough",
        "Writes to versioned or locked buckets. WriteThrough sends them to the remote at once, so that the client gets "
        "its version id. Queue accepts them here and pushes each in order.",
    )
    unverified_writes: Literal["Accept", "Reject"] = setting(
        "S3D_WRITE_QUEUE_UNVERIFIED_WRITES",
        "Accept",
        "In an outage, writes of a kind that the remote never accepted: Accept queues them, Reject answers 503.",
        reloads=True,
    )
    conflict: Literal["Overwrite", "Park"] = setting(
        "S3D_WRITE_QUEUE_CONFLICT",
        "Overwrite",
        "If another writer changed a key while our change of it waited: Overwrite pushes ours and logs a warning, Park "
        "keeps both until a person decides.",
        reloads=True,
    )
    conflict_check_after: Duration = setting(
        "S3D_WRITE_QUEUE_CONFLICT_CHECK_AFTER",
        5.0,
        "A change that has waited longer than this is pushed only after a check for other writers of its key.",
        reloads=True,
    )
    late_write_window: Duration = setting(
        "S3D_WRITE_QUEUE_LATE_WRITE_WINDOW",
        900.0,
        "How long a delivered change is retained if an earlier attempt timed out. If that attempt arrives late, the "
        "change is pushed again.",
        reloads=True,
    )
    max_upload_age: Duration = setting(
        "S3D_WRITE_QUEUE_MAX_UPLOAD_AGE",
        86400.0,
        "An open multipart upload is dropped if it gets no new part for this long.",
        reloads=True,
    )
    max_uploads: int = setting(
        "S3D_WRITE_QUEUE_MAX_UPLOADS",
        10_000,
        "Multipart uploads that may be open at once; one more gets 503 SlowDown.",
        reloads=True,
        ge=1,
    )
    filter: Filter = setting(
        "S3D_WRITE_QUEUE_FILTER",
        "",
        "Rules that say which writes are queued (docs/FILTERS.md). The others are written through: their clients wait "
        "for the remote. Empty: all writes are queued.",
        reloads=True,
    )
    push_filter: Filter = setting(
        "S3D_WRITE_QUEUE_PUSH_FILTER",
        "",
        "Rules that say which changes are pushed to the remote (docs/FILTERS.md). The others stay here, held, and are "
        "judged anew when rules or tags change. Empty: all are pushed, but what a tag s3d.upload holds.",
        reloads=True,
    )
    workers: int = setting(
        "S3D_WRITE_QUEUE_WORKERS", 16, "How many changes are pushed at the same time.", ge=1, le=1024
    )
