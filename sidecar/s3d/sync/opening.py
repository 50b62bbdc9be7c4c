"""Opens a sync folder that the settings describe."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from s3d.api import S3
from s3d.client import Client
from s3d.clock import MACHINE
from s3d.metrics import Metrics
from s3d.settings import SyncFolder
from s3d.store.db import Database
from s3d.store.lock import make_private
from s3d.sync import memory
from s3d.sync.deletes import Deletes
from s3d.sync.folder import Folder
from s3d.sync.guards import Limits
from s3d.sync.objects import Objects
from s3d.sync.options import Options
from s3d.sync.plan import Direction
from s3d.sync.scope import scope
from s3d.sync.there import Changes


@contextlib.asynccontextmanager
async def open_folder(
    name: str, said: SyncFolder, known_in: Path, s3: S3, changes: Changes, endpoint: str, metrics: Metrics
) -> AsyncIterator[Folder]:
    """The folder, at rest; `look` makes its rounds. The folder itself need not be there yet, and what is known of it is
    in a directory of its own. Raises ConfigError and StoreFailed."""
    assert said.dir is not None
    await asyncio.to_thread(make_private, known_in)
    db = await asyncio.to_thread(Database.open, known_in / memory.NAME, memory.SCHEMA)
    options = Options(
        said.dir,
        endpoint,
        Direction(said.direction),
        scope(said.bucket, said.prefix, said.filter, said.max_size),
        said.max_files,
        Limits(said.max_delete, said.max_delete_files),
        Deletes(said.deletes),
        said.max_age,
        said.poll,
        said.stable_for,
        said.trash_for,
    )
    objects = Objects(Client(s3, origin="sync"), said.bucket, said.prefix, name)
    clock = await asyncio.to_thread(memory.clock, db, MACHINE)
    folder = Folder(objects, db, changes, options, metrics, clock)
    try:
        yield folder
    finally:
        await folder.aclose()
        await db.close()
