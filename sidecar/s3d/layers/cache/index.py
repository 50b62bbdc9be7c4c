"""The index of the cache, in a file that is expendable: what is damaged is set aside, and the index begins anew.

Nothing here refuses a start. While there is no index, nothing is cached; it is tried again. A drop (C-9) that cannot be
written takes the whole index away instead: what is gone cannot be served.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw

from s3d.api import Headers
from s3d.clock import MACHINE, Kept, resume
from s3d.errors import S3DError
from s3d.layers.cache.rows import entries
from s3d.store.db import Database
from s3d.store.failures import StoreFailed, StoreFull
from s3d.store.opening import log_of
from s3d.store.syncs import sync_dir

T = TypeVar("T")
log = logging.getLogger(__name__)

ASIDE = ".damaged"
"""What is added to the name of an index that is set aside."""


class Index:
    """The tables, and what is not written there yet."""

    def __init__(self, path: Path, remote: str) -> None:
        """Take the path of the file, and the remote whose objects these are; `open` opens it."""
        self.path = path
        self._remote = remote
        self._db: Database | None = None
        self._lock = asyncio.Lock()
        self._gone = False
        """Whether the file is known to be away."""
        self._bad: Database | None = None
        """An index that could not be read, until it is set aside."""
        self.clock = resume(MACHINE, None, 0.0)
        self.on_anew: Callable[[], None] = lambda: None
        """Called when the index has begun anew: nothing is cached any more."""
        self._used: dict[int, float] = {}
        self._granted: dict[int, dict[str, float]] = {}
        self._touched: dict[int, tuple[float, Headers | None]] = {}

    @property
    def is_open(self) -> bool:
        """Whether there is an index."""
        return self._db is not None

    async def open(self) -> None:
        """Open the index, or begin anew where that fails. Where that fails too, there is none for now."""
        async with self._lock:
            if self._db is None:
                if self._bad is not None:
                    await self._anew(damaged=True)
                    return
                self._gone = False
                try:
                    self._db = await asyncio.to_thread(Database.open, self.path, entries.SCHEMA)
                    await self._begin(self._db)
                except Exception as error:  # noqa: BLE001 (whatever is in the file, it is no reason not to start)
                    log.error("the index of the read cache cannot be used, and begins anew: %s", error)
                    await self._anew(damaged=not isinstance(error, StoreFull))

    async def _begin(self, db: Database) -> None:
        """Go on with what the last process kept. What is cached of another remote is dropped."""
        kept = entries.meta(db)
        last = Kept(kept["boot"], float(kept["ahead"]), float(kept["seen"])) if "ahead" in kept else None
        clock = await asyncio.to_thread(resume, MACHINE, last, entries.newest(db))
        if kept.get("remote", self._remote) != self._remote:
            log.info("the read cache is of another remote, and begins anew")
            await db.write(lambda tables: entries.drop(tables, "", ""))
        said = {"remote": self._remote, "boot": clock.boot, "ahead": repr(clock.ahead), "seen": repr(clock.now())}
        await db.write(lambda tables: entries.keep(tables, said))
        self.clock = clock

    def read(self, look: Callable[[Database], T], otherwise: T) -> T:
        """Look something up; `otherwise` where there is no index, or it cannot be read."""
        if self._db is None:
            return otherwise
        try:
            return look(self._db)
        except (StoreFailed, ValueError, TypeError) as error:
            log.error("the index of the read cache cannot be read: %s", error)
            # Until it is set aside, by the next drop or look, nothing is cached.
            self._db, self._bad = None, self._db
            return otherwise

    async def write(self, apply: Callable[[apsw.Connection], T], *, loose: bool = False) -> T:
        """Write something for good, or `loose`: a power cut may undo it. Raises StoreFailed, also where there is no
        index."""
        if self._db is None:
            raise StoreFailed("there is no index of the read cache")
        return await self._db.write(apply, short=True, loose=loose)

    async def drop(self, bucket: str, key: str) -> tuple[int, int]:
        """Drop a key for good, or a bucket where no key is named: how many entries, and their bytes.

        Where that cannot be written everything is dropped. Raises StoreFailed where not even that can be done: then
        what was cached might come back.
        """
        while True:
            db = self._db
            if db is None:
                async with self._lock:  # one that is set aside just now is gone when this is ours
                    if self._db is None and not self._gone:
                        bad, self._bad = self._bad, None
                        await self._set_aside(bad, damaged=bad is not None)
                    if self._db is None:
                        return 0, 0
                continue
            try:
                return await db.write(lambda tables: entries.drop(tables, bucket, key), short=bool(key))
            except StoreFailed as error:
                log.error("what was cached of %s cannot be dropped, so the read cache begins anew: %s", bucket, error)
                async with self._lock:
                    if self._db is db:
                        self._db = None
                        await self._set_aside(db, damaged=False)
                        return 0, 0

    async def _anew(self, *, damaged: bool) -> None:
        """Set the file aside and make a new one, where that is possible."""
        db, self._db, self._bad = self._db or self._bad, None, None
        try:
            await self._set_aside(db, damaged=damaged)
            self._gone = False
            self._db = await asyncio.to_thread(Database.open, self.path, entries.SCHEMA)
            await self._begin(self._db)
        except (S3DError, OSError) as error:
            log.error("there is no read cache for now: %s", error)
            if self._db is not None:
                db, self._db = self._db, None
                await db.close()

    async def _set_aside(self, db: Database | None, *, damaged: bool) -> None:
        """Close the file and take it away. Raises StoreFailed."""
        self._used.clear()
        self._granted.clear()
        self._touched.clear()
        if db is not None:
            with contextlib.suppress(StoreFailed):
                await db.close()
        await asyncio.to_thread(remove, self.path, damaged=damaged)
        self._gone = True
        self.on_anew()

    # What is written now and then: it may be lost.

    def use(self, entry: int) -> None:
        """Note that an entry was read just now."""
        self._used[entry] = self.clock.now()

    def note(self, entry: int, identity: str, at: float, head: Headers | None) -> None:
        """Note that the remote has given an entry to an identity at a time, and by which headers (None: no others)."""
        self._granted.setdefault(entry, {})[identity] = at
        self._touched[entry] = at, head or self._touched.get(entry, (0.0, None))[1]

    def noted(self, entry: int, identity: str) -> float | None:
        """When the remote last gave an entry to an identity."""
        at = self._granted.get(entry, {}).get(identity)
        return at if at is not None else self.read(lambda db: entries.granted_at(db, entry, identity), None)

    def validated(self, entry: int) -> tuple[float, Headers | None]:
        """When the remote was last heard of an entry, and the headers that it gave then, so far as not written yet."""
        return self._touched.get(entry, (0.0, None))

    async def revoke(self, entry: int, identity: str) -> None:
        """Take an identity's right to an entry. Raises StoreFailed."""
        self._granted.get(entry, {}).pop(identity, None)
        await self.write(lambda db: entries.revoke(db, entry, identity))

    async def flush(self) -> None:
        """Write what was noted. Raises StoreFailed."""
        used, granted, touched = self._used, self._granted, self._touched
        if not (used or granted or touched):
            return
        self._used, self._granted, self._touched = {}, {}, {}

        def apply(db: apsw.Connection) -> None:
            for entry, at in used.items():
                entries.use(db, entry, at)
            for entry, identities in granted.items():
                entries.grant(db, entry, identities)
            for entry, (at, head) in touched.items():
                entries.touch(db, entry, at, head)

        if self._db is not None:
            await self._db.write(apply)

    async def close(self) -> None:
        """Write what was noted, and close the file."""
        async with self._lock:
            with contextlib.suppress(StoreFailed):
                await self.flush()
            for db in (self._db, self._bad):
                if db is not None:
                    await db.close()
            self._db = self._bad = None


def remove(path: Path, *, damaged: bool = False) -> None:
    """Take an index away for good; a damaged one is kept under another name for whoever wants to look at it. Blocks.
    Raises StoreFailed."""
    try:
        for name in (path, log_of(path), path.with_name(f"{path.name}-shm")):
            if not name.exists():
                continue
            if damaged:
                name.replace(name.with_name(name.name + ASIDE))
            else:
                name.unlink()
        sync_dir(path.parent)
    except OSError as error:
        raise StoreFailed(f"{path} cannot be taken away: {error}", hint="look at the volume of the cache") from error
