"""The tables and the bodies of a queue belong together (SEMANTICS D-12): neither is used with those of another.

A sweep removes bodies that no row knows. Beside a database that is new, or another queue's, that would be every body
there is. So both bear the same label: a row of the table `meta`, and a file in the directory of bodies. Where they
differ, start is refused, and nothing is touched.
"""

import asyncio
import secrets
from pathlib import Path

from s3d.errors import ConfigError
from s3d.layers.queue.rows import knowledge, uploads, views
from s3d.store import db as store
from s3d.store.bodies import Bodies, any_body, is_used
from s3d.store.db import Database


def refuse_new(path: Path, bodies: Path) -> None:
    """Refuse to make a database beside bodies, or where there was one: its label is left. Blocks. Raises ConfigError.

    A database whose log is there is not new but lost, and `Database.open` says so.
    """
    log = store.log_of(path)
    if store.is_new(path) and not log.exists() and is_used(bodies):
        raise ConfigError(
            f"{path} is gone or empty, and {bodies} is not new: what was acknowledged would be forgotten",
            hint=f"put {path.name} and {log.name} back; to start with an empty queue, move {bodies} aside",
        )


async def bind(db: Database, bodies: Bodies) -> None:
    """Label both, or refuse those that do not belong together. Raises ConfigError and StoreFailed."""
    ours, theirs = knowledge.label(db), await bodies.label()
    if ours and ours == theirs:
        return
    some = await asyncio.to_thread(any_body, bodies.root)
    if (some or (ours and theirs)) and not _may_belong(db, ours, theirs, await bodies.names()):
        raise ConfigError(
            f"{bodies.root} is not of {db.path}: what was acknowledged with these bodies would be forgotten",
            hint=f"put the database back that belongs to them; to start without them, move {bodies.root} aside",
        )
    label = ours or theirs or secrets.token_hex(16)
    # The bodies first: a database of ours that has no label yet may still be given theirs.
    await bodies.set_label(label)
    await db.write(knowledge.set_label(label))


def _may_belong(db: Database, ours: str, theirs: str, names: list[str]) -> bool:
    """Whether bodies may be of a database that has another label, or none: made by an older s3d, or cut off."""
    if ours and theirs:
        return False
    if not ours and not theirs:
        return views.newest(db) > 0
    return bool(views.files_known(db, names) | uploads.files_known(db, names))
