"""The mount itself: made at the start, served by the loop, taken away before the drain.

A mount that a killed process left is taken away first; nothing here ever looks below the mount, since it is this loop
that would have to answer. It is detached at the end: programs that have files open get to close them.
"""

import asyncio
import contextlib
import errno
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyfuse3
import pyfuse3.asyncio

from s3d.api import S3
from s3d.background import for_ever
from s3d.client import Client
from s3d.errors import ConfigError
from s3d.feed import Feed
from s3d.metrics import Metrics
from s3d.mount.files import Files
from s3d.mount.looks import Looks
from s3d.mount.moves import Moves
from s3d.mount.operations import Operations
from s3d.mount.sessions import Session, Sessions
from s3d.mount.stage import Stage
from s3d.mount.tree import Tree
from s3d.mount.views import Views
from s3d.mount.xattrs import Xattrs
from s3d.settings import FuseMount

log = logging.getLogger(__name__)

DEVICE = Path("/dev/fuse")
LOOK_SECONDS = 2.0
"""How long a look at a mount of somebody else's may take."""
CLOSE_TIMEOUT = 5.0
"""Seconds that programs get to close their files once the mount is detached."""
MAX_REQUESTS = 64
"""Requests of the kernel that are served at the same time."""


class Mount:
    """A mount that is served."""

    def __init__(self, path: Path, files: Files, sessions: Sessions, tree: Tree) -> None:
        """Take the parts that know."""
        self._running: list[asyncio.Task[None]] = []
        self._path = path
        self._files = files
        self._sessions = sessions
        self._tree = tree
        self.mounted = False

    def run(self, metrics: Metrics, tasks: asyncio.TaskGroup) -> None:
        """Serve it, and look after what was written, as tasks of a group."""
        self._running = [
            tasks.create_task(self._serve()),
            tasks.create_task(for_ever("files of the mount", partial(self._look_after, metrics), metrics)),
        ]

    async def _look_after(self, metrics: Metrics) -> None:
        """Show how it is, and publish what is due."""
        metrics.mount_open.set(len(self._files))
        metrics.mount_unpublished.set(len(self._sessions.unpublished()))
        metrics.mount_staged.set(self._sessions.bytes)
        await self._files.publish_due()

    async def _serve(self) -> None:
        """Answer the kernel until the mount is gone."""
        self.mounted = True
        try:
            await pyfuse3.main(1, MAX_REQUESTS)
        finally:
            self.mounted = False
        log.info("the mount has gone")

    async def end(self) -> None:
        """Detach it, let programs close what they have open for a while, and make objects of what was written.

        Safe to call twice.
        """
        if not self._running:
            return
        (serving, looking), self._running = self._running, []
        await asyncio.to_thread(detach, self._path)
        if not serving.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._files.closed(), CLOSE_TIMEOUT)
        if not serving.done():
            # A request that has just come wakes the reader as well, and pyfuse3 cannot wake it twice.
            with contextlib.suppress(asyncio.InvalidStateError):
                pyfuse3.terminate()
        await asyncio.wait({serving})
        looking.cancel()
        await asyncio.to_thread(pyfuse3.close, unmount=False)
        await self._files.publish_all()

    def status(self) -> dict[str, Any]:
        """It in counts."""
        return {
            "path": str(self._path),
            "mounted": self.mounted,
            "open_files": len(self._files),
            "unpublished": len(self._sessions.unpublished()),
            "failing": sum(1 for session in self._sessions.unpublished() if session.error),
            "staged_bytes": self._sessions.bytes,
            "inodes": len(self._tree),
        }

    def unpublished(self) -> list[dict[str, Any]]:
        """What is no object yet, with its names."""
        return [described(session) for session in self._sessions.unpublished()]

    async def publish(self) -> dict[str, Any]:
        """Make objects of all that was written."""
        before = len(self.unpublished())
        left = await self._files.publish_all()
        return {"published": before - len(left), "left": [described(session) for session in left]}


@contextlib.asynccontextmanager
async def mounted(
    s3: S3, settings: FuseMount, directory: Path, room: Callable[[], int], metrics: Metrics, feed: Feed | None
) -> AsyncIterator[Mount]:
    """Mount an S3 and serve it; what is being written is in `directory`. Raises ConfigError.

    At the end it is taken away, and what was written becomes objects.
    """
    path = settings.dir
    if path is None:
        raise ConfigError("S3D_FUSE_MOUNT_DIR is not set", hint="name an empty directory")
    await asyncio.to_thread(prepare, path)
    stage = await asyncio.to_thread(Stage, directory)
    client = Client(s3, origin="mount")
    tree, shown = Tree(settings.max_names), Views(client)
    sessions = Sessions(client, stage, settings.max_size, room)
    files = Files(client, tree, sessions, settings.publish_after)
    looks = Looks(shown, feed)
    moves = Moves(client, shown, looks, tree, files, sessions, settings.max_rename)
    if left := await files.recover(stage):
        log.info("the mount takes up %d files that an earlier run has left", left)
    xattrs = Xattrs(client, shown)
    operations = Operations(settings, shown, tree, files, moves, looks, xattrs, stage, room, metrics)
    pyfuse3.asyncio.enable()
    mount(operations, path, settings)
    there = Mount(path, files, sessions, tree)
    async with asyncio.TaskGroup() as tasks:
        there.run(metrics, tasks)
        log.info("s3d is mounted at %s", path)
        try:
            yield there
        finally:
            await there.end()
            await asyncio.to_thread(stage.close)


def mount(operations: Operations, path: Path, settings: FuseMount) -> None:
    """Mount. Raises ConfigError."""
    options = {*pyfuse3.default_options, "fsname=s3d", "subtype=s3d"}
    if settings.allow_other:
        options.add("allow_other")
    if settings.read_only:
        options.add("ro")
    try:
        pyfuse3.init(operations, str(path), options)
    except RuntimeError as error:
        raise ConfigError(
            f"S3D_FUSE_MOUNT_DIR: {path} cannot be mounted: {error}",
            hint="unless s3d is root, fusermount3 has to be there (Debian: fuse3), and for S3D_FUSE_MOUNT_ALLOW_OTHER "
            "/etc/fuse.conf has to say user_allow_other",
        ) from None


def prepare(path: Path) -> None:
    """Make a directory ready to be mounted on. Blocks. Raises ConfigError."""
    if not DEVICE.exists():
        raise ConfigError(
            f"S3D_FUSE_MOUNT: there is no {DEVICE} here",
            hint="load the kernel's module fuse; a container has to be given the device",
        )
    if is_stale(path):
        log.warning("a mount that was left at %s is taken away", path)
        detach(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        is_empty = not any(path.iterdir())
    except OSError as error:
        raise ConfigError(f"S3D_FUSE_MOUNT_DIR: {path}: {error.strerror}", hint="name an empty directory") from None
    if path.is_mount() or not is_empty:
        raise ConfigError(
            f"S3D_FUSE_MOUNT_DIR: {path} is {'a mount' if path.is_mount() else 'not empty'}",
            hint="name an empty directory, whose content nobody misses",
        )


def is_stale(path: Path) -> bool:
    """Whether a mount is there that nobody serves any more. A look from outside, which cannot hang us."""
    try:
        looked = subprocess.run(
            # Of the file system: the kernel may still remember what the directory is.
            ["stat", "--file-system", "--", str(path)],
            capture_output=True,
            timeout=LOOK_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"S3D_FUSE_MOUNT_DIR: {path} does not answer", hint=f"see what is mounted there; umount -l {path}"
        ) from None
    return looked.returncode != 0 and os.strerror(errno.ENOTCONN).encode() in looked.stderr


def detach(path: Path) -> None:
    """Take a mount out of the tree, whoever uses it; one that is gone is fine. Blocks."""
    command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    done = subprocess.run(
        [*command, "--", str(path)], capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode:
        log.debug("nothing is taken away at %s: %s", path, done.stderr.decode(errors="replace").strip())


def described(session: Session) -> dict[str, Any]:
    """One file that is no object yet."""
    return {
        "bucket": session.bucket,
        "key": session.key,
        "size": session.size,
        "synced": session.staged.has_record,
        "error": session.error,
        "file": session.staged.id,
    }
