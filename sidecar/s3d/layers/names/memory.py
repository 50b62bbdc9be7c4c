"""The file of what is remembered. It is expendable: where it is damaged it is set aside, and begun anew.

What is remembered must never come back after it has become wrong. So where a write fails, the file goes: nothing is
remembered then until it could be begun anew, which is tried again and again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from s3d.clock import MACHINE, Clock, Machine
from s3d.errors import ConfigError, Unavailable
from s3d.layers.names import rows
from s3d.layers.names.rows import Write
from s3d.store.db import Database
from s3d.store.failures import StoreFailed
from s3d.store.opening import log_of
from s3d.store.syncs import sync_dir

log = logging.getLogger(__name__)
NAME = "names.db"
ASIDE = "names.db.damaged"
FAILED = "names are not remembered any more: %s"


class Memory:
    """The file, while it can be used."""

    def __init__(self, path: Path, db: Database, clock: Clock, endpoint: str, machine: Machine) -> None:
        """Take what is open; `open_memory` is the way in."""
        self._path = path
        self._endpoint = endpoint
        self._machine = machine
        self._db: Database | None = db
        self.clock = clock

    @property
    def db(self) -> Database | None:
        """The tables; None once they have failed."""
        return self._db

    async def write(self, apply: Write, *, short: bool = False) -> None:
        """Write, durably. Where that fails nothing is remembered any more.

        Raises Unavailable where not even that can be made sure of: what is on the disk may be wrong from now on.
        """
        await self.submit(apply, short=short)

    def submit(self, apply: Write, *, short: bool = False) -> Coroutine[Any, Any, None]:
        """The same, taken into the line at once: nothing that is asked for later comes before it."""
        try:
            future = self._db.submit(apply, short=short) if self._db is not None else None
        except StoreFailed:
            future = None
        return self._done(future)

    async def _done(self, written: asyncio.Future[Any] | None) -> None:
        if written is None:
            return
        try:
            await asyncio.shield(written)
        except StoreFailed as error:
            await self.abandon(str(error))

    async def abandon(self, why: str) -> None:
        """Have nothing remembered, now and after a restart. Raises Unavailable where the file cannot be deleted."""
        db, self._db = self._db, None
        if db is None:
            return
        log.error(FAILED, why)
        try:
            await asyncio.to_thread(remove, self._path)
        except OSError as error:
            raise Unavailable(
                f"The directory of the read cache fails: {error}", hint="look at the volume of S3D_READ_CACHE_DIR"
            ) from error
        finally:
            await db.close()

    async def begin_anew(self) -> None:
        """Remember from now on, after nothing was remembered any more. Raises OSError, ConfigError and StoreFailed."""
        await asyncio.to_thread(remove, self._path)
        db = await asyncio.to_thread(_open, self._path)
        try:
            self.clock = await _begin(db, self._endpoint, self._machine)
        except BaseException:
            await db.close()
            raise
        self._db = db
        log.info("names are remembered again, from nothing")

    async def aclose(self) -> None:
        """Close the file."""
        if self._db is not None:
            with contextlib.suppress(StoreFailed):
                await self._db.write(rows.keep_clock(self.clock))
            await self._db.close()
            self._db = None


async def open_memory(directory: Path, endpoint: str, machine: Machine = MACHINE) -> Memory:
    """Open what is remembered of the store at an endpoint. Raises ConfigError and StoreFailed."""
    path = directory / NAME
    db = await asyncio.to_thread(_open, path)
    try:
        clock = await _begin(db, endpoint, machine)
    except (StoreFailed, ValueError, KeyError, TypeError) as error:
        await db.close()
        await asyncio.to_thread(_set_aside, path, str(error))
        db = await asyncio.to_thread(_open, path)
        clock = await _begin(db, endpoint, machine)
    return Memory(path, db, clock, endpoint, machine)


async def _begin(db: Database, endpoint: str, machine: Machine) -> Clock:
    if rows.endpoint_of(db) != endpoint:
        await db.write(rows.forget_all(endpoint))
    name = await asyncio.to_thread(machine.boot)
    clock = rows.clock_of(db, replace(machine, boot=lambda: name))
    await db.write(rows.keep_clock(clock))
    return clock


def _open(path: Path) -> Database:
    try:
        return Database.open(path, rows.SCHEMA)
    except ConfigError as error:
        _set_aside(path, str(error))
    return Database.open(path, rows.SCHEMA)


def _set_aside(path: Path, why: str) -> None:
    """Keep a damaged file for a person, in the place of the one before."""
    log.error("what was remembered of names cannot be read, and is begun anew; it is kept as %s: %s", ASIDE, why)
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(ASIDE))
    remove(path)


def remove(path: Path) -> None:
    """Delete the file, durably. Raises OSError."""
    for file in (path, log_of(path), path.with_name(f"{path.name}-shm")):
        file.unlink(missing_ok=True)
    if path.parent.exists():
        sync_dir(path.parent)
