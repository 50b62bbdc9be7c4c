"""Reads what has changed in a folder, as far as nobody has written to it for a while (SEMANTICS S-8)."""

import time
from collections.abc import Iterable

from s3d.store.db import Database
from s3d.sync import memory
from s3d.sync.files import Stamp
from s3d.sync.root import Root
from s3d.sync.trees import Content

MAX_PAGE = 64
"""Files that are read before what they hold is written down."""


async def read(root: Root, db: Database, number: int, stable_for: float) -> bool:
    """Read what a walk has found changed. Whether all of it was read; the rest is being written."""
    after, is_all = "", True
    while page := memory.unread(db, number, after, MAX_PAGE):
        after = page[-1][0]
        still = [(path, stamp) for path, stamp in page if is_at_rest(stamp, stable_for)]
        found, closed = await root.run(hashed, root, still)
        await db.write(memory.read_as(found, closed))
        is_all = is_all and len(found) + len(closed) == len(page)
    return is_all


def is_at_rest(stamp: Stamp, stable_for: float) -> bool:
    """Whether nobody has changed a file for a while."""
    # A time that is far ahead is a clock that was set: it says nothing, and the second read decides (S-8).
    return abs(time.time() - stamp.ctime_ns / 1e9) >= stable_for


def hashed(root: Root, files: Iterable[tuple[str, Stamp]]) -> tuple[list[tuple[str, Stamp, Content]], list[str]]:
    """Read files that have a stamp: what they hold, and which could not be read. What was written to meanwhile is in
    neither. It blocks."""
    found, closed = [], []
    for path, stamp in files:
        try:
            content = root.hash(path, stamp)
        except OSError:
            closed.append(path)
        else:
            if content is not None:
                found.append((path, stamp, content))
    return found, closed
