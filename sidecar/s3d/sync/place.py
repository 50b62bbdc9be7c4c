"""The folder on its disk while it is open, and whether it is the one that is meant (SEMANTICS S-2a).

Its marker says of which remote it is, and how far both sides had come: a number that grows before each plan is done,
on the disk and in the base. Where the folder has the smaller one it was set back, as by a restore: its older files
would be taken for edits, and what is missing for deleted. Where the base has the smaller one, it is the base that was
set back. That is forgotten, as if it had been lost.
"""

import asyncio
import logging
from collections.abc import Callable
from errno import EDQUOT, ENOSPC
from secrets import token_hex

from s3d.clock import Clock
from s3d.store.db import Database
from s3d.sync import memory
from s3d.sync.acts import Acts
from s3d.sync.guards import Halt
from s3d.sync.options import Options
from s3d.sync.root import Root

log = logging.getLogger(__name__)

FULL = {ENOSPC, EDQUOT}


class Place:
    """A folder on its disk."""

    def __init__(
        self,
        options: Options,
        db: Database,
        clock: Clock,
        remote: str,
        on_conflict: Callable[[str], None],
    ) -> None:
        """Take where it is, what is known of it, the clock of the trash, its remote in one word, and who is told of
        conflict copies."""
        self._options = options
        self._db = db
        self._clock = clock
        self._remote = remote
        self._on_conflict = on_conflict
        self.root: Root | None = None
        self.acts: Acts | None = None

    async def open(self) -> Halt | None:
        """See that the folder is the one that is meant; open it where it is not open. Raises OSError and
        StoreFailed."""
        if self.root and not await self.root.run(self.root.is_in_place):
            await self.close()
        if self.root is None:
            self.root = await asyncio.to_thread(Root, self._options.path)
            self.acts = None
        expected, found = memory.fact(self._db, "marker"), await self.root.run(self.root.marker)
        if memory.has_base(self._db):
            if memory.fact(self._db, "remote") != self._remote:
                return Halt.OTHER_REMOTE
            if found is None:
                return Halt.MARKER_MISSING
        if found is not None and (found.get("id") != expected if expected else found.get("remote") != self._remote):
            return Halt.OTHER_FOLDER
        if found is not None and await self._is_set_back(number_in(found)):
            return Halt.FOLDER_ROLLED_BACK
        if self.acts is None:
            await self._take(self.root, found, expected)
        elif found is None:
            # The marker went, and nothing was ever in common: begin anew.
            await self.close()
            return await self.open()
        return None

    async def _is_set_back(self, shown: int) -> bool:
        """Whether the folder is older than the base, and nobody has said that this is meant. An older base is
        forgotten."""
        known, begun = (int(memory.fact(self._db, name) or 0) for name in ("number", "begun"))
        if shown > max(known, begun) and memory.has_base(self._db):
            log.warning("what the sync folder and the remote had in common is older than the folder, and is forgotten")
            await self._db.write(memory.forget_base)
        return shown < known and memory.has_base(self._db) and not memory.fact(self._db, "accepts")

    async def _take(self, root: Root, found: dict[str, str] | None, expected: str) -> None:
        await root.run(root.prepare)
        if why := await root.run(root.check):
            raise OSError(0, why)
        marker = found["id"] if found and found.get("id") else expected or token_hex(16)
        await self._db.write(memory.keep_fact("marker", marker))
        await self._db.write(memory.keep_fact("remote", self._remote))
        if found is None:
            await root.run(root.mark, self._says(marker, 0))
            await self._db.write(memory.keep_fact("number", ""))
            await self._db.write(memory.keep_fact("begun", ""))
        await self._db.write(memory.keep_clock(self._clock))
        self.acts = Acts(root, self._db, self._clock, self._on_conflict)
        await self.acts.recover()

    async def advance(self) -> None:
        """Something is about to be done: neither an older folder nor an older base is as far as this any more. A crash
        between two of the steps leaves the marker at a number that was begun."""
        assert self.root
        marker = await self.root.run(self.root.marker)
        number = max(number_in(marker or {}), int(memory.fact(self._db, "number") or 0)) + 1
        await self._db.write(memory.keep_fact("begun", str(number)))
        try:
            await self.root.run(self.root.mark, self._says(memory.fact(self._db, "marker"), number))
        except OSError as error:
            if error.errno not in FULL:
                raise
            # What is here is sent from a full disk too.
            return
        await self._db.write(memory.keep_fact("number", str(number)))

    def _says(self, marker: str, number: int) -> dict[str, str]:
        return {"id": marker, "remote": self._remote, "number": str(number)}

    async def close(self) -> None:
        """Let go of it; the next `open` opens it again."""
        root, self.root, self.acts = self.root, None, None
        if root is not None:
            await asyncio.to_thread(root.close)


def number_in(marker: dict[str, str]) -> int:
    """How far a folder had come by its marker; 0 where that does not say."""
    said = marker.get("number", "")
    return int(said) if said.isascii() and said.isdecimal() else 0
