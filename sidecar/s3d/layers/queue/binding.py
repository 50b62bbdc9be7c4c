"""The tables and the bodies of a queue belong together (SEMANTICS D-12): neither is used with those of another.

A sweep removes bodies that no row knows. Beside a database that is new, or another queue's, that would be every body
there is. So both bear the same label: a row of the table `meta`, and a file in the directory of bodies. Where they
differ, start is refused, and nothing is touched. An older copy of the same database has the same label: so the tables
also know of which runs of s3d they may have bodies.
"""

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from s3d.errors import ConfigError
from s3d.layers.queue.rows import garbage, lookups, ownership, uploads
from s3d.store import opening
from s3d.store.bodies import Bodies
from s3d.store.db import Database
from s3d.store.files import any_body, is_used, run_of

MAX_RUNS: Final = 1000
"""Runs that are noted. An orphan of an older one than these is long gone."""


def refuse_new(path: Path, bodies: Path) -> None:
    """Refuse to make a database beside bodies, or where there was one: its label is left. Blocks. Raises ConfigError.

    A database whose log is there is not new but lost, and `Database.open` says so.
    """
    log = opening.log_of(path)
    if opening.is_new(path) and not log.exists() and is_used(bodies):
        raise ConfigError(
            f"{path} is gone or empty, and {bodies} is not new: what was acknowledged would be forgotten",
            hint=f"put {path.name} and {log.name} back; to start with an empty queue, move {bodies} aside",
        )


async def bind(db: Database, bodies: Bodies) -> None:
    """Label both, or refuse those that do not belong together. Raises ConfigError and StoreFailed."""
    ours, theirs = ownership.label(db), await bodies.label()
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
    await db.write(ownership.set_label(label))


def _may_belong(db: Database, ours: str, theirs: str, names: list[str]) -> bool:
    """Whether bodies may be of a database that has another label, or none: made by an older s3d, or cut off."""
    if ours and theirs:
        return False
    if not ours and not theirs:
        return lookups.newest(db) > 0
    return bool(known(db, names))


def known(db: Database, names: Sequence[str]) -> set[str]:
    """Those of some bodies that the tables know: a row names them, or they are to be deleted. Raises StoreFailed."""
    return lookups.files_known(db, names) | uploads.files_known(db, names) | garbage.files_known(db, names)


async def note_run(db: Database, bodies: Bodies) -> None:
    """Note this run in the tables before it makes a body. Raises StoreFailed.

    A database that was put back from an older copy knows nothing of the runs since: their bodies are no orphans.
    """
    known = ownership.runs(db) or sorted(await bodies.runs())
    await db.write(ownership.set_runs([*known, bodies.run][-MAX_RUNS:]))


def of_others(db: Database, names: Sequence[str]) -> set[str]:
    """Those of some bodies that come from a run which the tables know nothing of. Raises StoreFailed."""
    known = frozenset(ownership.runs(db))
    return {name for name in names if run_of(name) not in known}
