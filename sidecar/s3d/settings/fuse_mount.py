"""The mount: buckets and objects as files."""

import os
from pathlib import Path

from s3d.settings.section import Section, setting
from s3d.settings.values import Bytes, Duration


class FuseMount(Section):
    """Buckets and objects as files."""

    title = "The mount"
    enabled: bool = setting(
        "S3D_FUSE_MOUNT", False, "Mount the buckets as directories (docs/MOUNT.md). It takes `pip install 's3d[fuse]'`."
    )
    dir: Path | None = setting(
        "S3D_FUSE_MOUNT_DIR",
        None,
        "Empty directory on which the buckets are mounted. It is made where it is missing, and nothing that s3d uses "
        "may lie below it.",
    )
    read_only: bool = setting("S3D_FUSE_MOUNT_READ_ONLY", False, "Let nothing be changed by the mount.")
    allow_other: bool = setting(
        "S3D_FUSE_MOUNT_ALLOW_OTHER",
        False,
        "Let other users than that of s3d use the mount. Unless s3d runs as root, /etc/fuse.conf has to say "
        "user_allow_other.",
    )
    uid: int | None = setting("S3D_FUSE_MOUNT_UID", None, "Number of the user who owns all files. Unset: that of s3d.")
    gid: int | None = setting("S3D_FUSE_MOUNT_GID", None, "Number of the group of all files. Unset: that of s3d.")
    max_size: Bytes = setting(
        "S3D_FUSE_MOUNT_MAX_SIZE",
        "10Gi",
        "Bytes of files that are being written, in LOCAL_DIR/mount. Beyond it a write gets ENOSPC.",
    )
    publish_after: Duration = setting(
        "S3D_FUSE_MOUNT_PUBLISH_AFTER",
        60.0,
        "How long after an fsync a file that stays open becomes an object at the latest.",
    )
    max_names: int = setting(
        "S3D_FUSE_MOUNT_MAX_NAMES",
        20_000,
        "Most files that the kernel is to know by name, beside those that are open. Beyond it is told to forget the "
        "oldest, which costs nobody but a look-up.",
        ge=100,
    )
    max_rename: int = setting(
        "S3D_FUSE_MOUNT_MAX_RENAME",
        1000,
        "Most objects of a directory that is renamed. One of more gets EXDEV, and programs such as mv copy it.",
        ge=0,
    )

    @property
    def owner(self) -> tuple[int, int]:
        """User and group of all files."""
        return os.getuid() if self.uid is None else self.uid, os.getgid() if self.gid is None else self.gid
