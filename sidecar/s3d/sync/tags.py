"""Asks again about objects that their tag leaves out (SEMANTICS S-4b).

Whether a tag leaves an object out is asked before something is done with it, and kept for its version. No listing shows
that a tag was changed. So what was left out is asked about again: from time to time, and when a person says so.
"""

import math
from contextlib import suppress

from s3d.clock import tick
from s3d.errors import S3Error
from s3d.store.db import Database
from s3d.sync import memory
from s3d.sync.objects import Objects

INTERVAL = 3600.0
"""Seconds between the beginnings of two looks at all of them."""
MAX_ASKED = 100
"""Objects that are asked about in one round of the folder."""


class Tags:
    """What is left out by tags."""

    def __init__(self, objects: Objects, db: Database) -> None:
        """Take whom to ask, and where it is kept."""
        self._objects = objects
        self._db = db
        self._began_at, self._asked_to = -math.inf, ""

    def again(self) -> None:
        """Have all of them asked about in the next rounds."""
        self._began_at, self._asked_to = -math.inf, ""

    async def ask(self) -> None:
        """Let in what no tag leaves out any more. Raises StoreFailed."""
        if not self._asked_to:
            if tick() - self._began_at < INTERVAL:
                return
            self._began_at = tick()
        page = memory.tagged_out(self._db, self._asked_to, MAX_ASKED)
        self._asked_to = page[-1] if len(page) == MAX_ASKED else ""
        for path in page:
            with suppress(S3Error):
                if not await self._objects.is_tagged_out(path):
                    await self._db.write(memory.let_in(path))
