"""Files that are taken over as they change, without a restart.

What is wrong changes nothing: the last good content stays in use, the log says so once for each content, and `error`
goes on saying it to the status and to the metrics until the file is right again.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from s3d.errors import S3DError

log = logging.getLogger(__name__)

INTERVAL = 2.0
"""Seconds between two looks."""
MAX_COMPLAINT = 500
"""Characters of what the log says of a wrong one."""
Content = TypeVar("Content")


class Watched(Generic[Content]):
    """One file, or several that change together."""

    def __init__(
        self, name: str, where: object, read: Callable[[], Content], take: Callable[[Content], str], *, seen: Content
    ) -> None:
        """Take its name in metrics, and where it is.

        `read` gives the content, in a thread. `take` takes over one that is new, all or nothing, and says what changed,
        "" for nothing. Both raise what is wrong with it, in words that hold no secret. `seen` is the content that is in
        use already.
        """
        self.name = name
        self.error = ""
        """Why the newest content is not in use; "" where it is."""
        self.loaded_at = time.time()
        """Unix time at which the content that is in use was taken over."""
        self._where = where
        self._read = read
        self._take = take
        self._seen = seen
        self._verdict = ""

    async def run(self) -> None:
        """Rest, and look."""
        await asyncio.sleep(INTERVAL)
        await self.look()

    async def look(self) -> None:
        """Take over the content as it is now, if it is new."""
        try:
            content = await asyncio.to_thread(self._read)
        except Exception as error:  # noqa: BLE001 (whatever stands in the place of the file must not end the daemon)
            if (said := complaint(error)) != self.error:
                self._refuse(said)
            return
        if content == self._seen:
            self.error = self._verdict
            return
        self._seen, self._verdict = content, ""
        try:
            changed = self._take(content)
        except Exception as error:  # noqa: BLE001 (whatever somebody writes into a file must not end the daemon)
            self._verdict = complaint(error)
            self._refuse(self._verdict)
            return
        self.error = ""
        self.loaded_at = time.time()
        if changed:
            log.info("%s reloaded: %s", self._what, changed)

    def _refuse(self, said: str) -> None:
        self.error = said
        log.error("%s is not taken over, the last %s stay: %s", self._where, self._what, said)

    @property
    def _what(self) -> str:
        return self.name.replace("_", " ")


def complaint(error: Exception) -> str:
    """What an error says, for the log and the status."""
    said = str(error) or type(error).__name__
    if isinstance(error, S3DError) and error.hint:
        said = f"{said} ({error.hint})"
    return said[:MAX_COMPLAINT].encode(errors="backslashreplace").decode()
