"""Watches the directories of a folder, only to say that there is something to look at (inotify(7)).

A round looks at everything anyway. So no event is read for what it says, one that is lost or an overflow costs nothing
but time, and where the kernel gives no watches (they count by user, and the sidecars of a node are one) the folder is
looked at every so often. A directory is watched before its names are read: what is made in between is an event.
"""

import errno
from collections.abc import Callable
from pathlib import Path

from asyncinotify import Inotify, Mask

EVENTS = (
    Mask.CREATE
    | Mask.DELETE
    | Mask.CLOSE_WRITE
    | Mask.ATTRIB
    | Mask.MOVE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
    | Mask.EXCL_UNLINK
)
REASONS = {
    errno.EMFILE: "the user has no inotify instance left (fs.inotify.max_user_instances)",
    errno.ENOSPC: "the user has no inotify watch left (fs.inotify.max_user_watches)",
}


class Watch:
    """Watches, while there are any to be had."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Take what is called after an event."""
        self._wake = wake
        self.reason = ""
        """Why a part of the folder, or all of it, is not watched; "" where it is."""
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify(cache_size=64)
        except OSError as error:
            self._give_up(error)

    def cover(self, directory: int) -> None:
        """Watch an open directory too. One that is watched already stays so."""
        if self._inotify is None:
            return
        try:
            self._inotify.add_watch(Path(f"/proc/self/fd/{directory}"), EVENTS)
        except OSError as error:
            self._give_up(error)
        else:
            self.reason = ""

    def _give_up(self, error: OSError) -> None:
        self.reason = REASONS.get(error.errno or 0, f"inotify fails: {error.strerror}")

    async def run(self) -> None:
        """Wake whoever looks, for ever."""
        if self._inotify is None:
            return
        async for _ in self._inotify:
            self._wake()

    def close(self) -> None:
        """Give the watches back."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
