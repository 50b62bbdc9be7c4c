"""The mount: the same buckets and objects as files, over any S3 (SEMANTICS M).

What talks to the kernel needs pyfuse3, which is installed for a mount only; so it is loaded when one is opened.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from s3d.api import S3
from s3d.errors import ConfigError
from s3d.feed import Feed
from s3d.metrics import Metrics
from s3d.settings import FuseMount

if TYPE_CHECKING:
    from s3d.mount.mounting import Mount

__all__ = ["Mount", "open_mount"]


@contextlib.asynccontextmanager
async def open_mount(
    s3: S3, settings: FuseMount, directory: Path, room: Callable[[], int], metrics: Metrics, feed: Feed | None
) -> AsyncIterator["Mount"]:
    """Mount an S3 and serve it; what is being written is in `directory`. Raises ConfigError.

    At the end it is taken away, and what was written becomes objects. `room` says how many bytes the queue still takes,
    and its feed what has changed; without a queue there is none.
    """
    try:
        from s3d.mount.mounting import mounted
    except ImportError as error:
        raise ConfigError(
            f"S3D_FUSE_MOUNT: what it needs is not here ({error})",
            hint="pip install 's3d[fuse]'; on Debian after apt-get install gcc libfuse3-dev pkg-config python3-dev",
        ) from None
    async with mounted(s3, settings, directory, room, metrics, feed) as there:
        yield there
