"""A local dir with changes in it, as a daemon that was away from its remote leaves one behind.

It is written by the queue's own statements, since putting a million objects over HTTP takes longer than a run may.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from e2e.bench.loads import BUCKET, SMALL
from s3d.layers.queue.rows import changes, ownership
from s3d.layers.queue.rows.changes import New
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.states import Op
from s3d.store.db import Database

GROUP = 1000


def fill(local: Path, endpoint: str, number: int, key_of: Callable[[int], str], *, held: bool = False) -> None:
    """Queue puts of 4 KiB; `held` ones are not due for an hour."""
    asyncio.run(_fill(local, endpoint, number, key_of, 3600.0 if held else 0.0))


async def _fill(local: Path, endpoint: str, number: int, key_of: Callable[[int], str], delay: float) -> None:
    directory = local / "queue"
    directory.mkdir(mode=0o700)
    body = b"s" * SMALL
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    db = Database.open(directory / "queue.db", SCHEMA)
    await db.write(ownership.assign_to(endpoint))
    now = time.time()

    def add(first: int) -> Callable[[apsw.Connection], None]:
        def write(connection: apsw.Connection) -> None:
            for at in range(first, min(first + GROUP, number)):
                change = New(BUCKET, key_of(at), "", Op.PUT, now, now + delay, size=SMALL, etag=etag, inline=body)
                changes.enqueue(connection, change)

        return write

    for first in range(0, number, GROUP):
        await db.write(add(first))
    await db.close()
