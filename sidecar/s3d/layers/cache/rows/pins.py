"""All SQL of pins: names whose objects stay in the cache, and are fetched before somebody reads them (C-7a)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import apsw

from s3d.layers.cache.rows import entries
from s3d.layers.cache.rows.entries import New, Spot, Tags, is_pinned
from s3d.store.db import Database

State = Literal["kept", "waiting", "over"]
STATES: tuple[State, ...] = ("kept", "waiting", "over")
"""What a pinned object is: cached whole; about to be; or left out, since pinned objects have their share already."""
MAX_PINS = 100_000
"""Names that may be pinned; one more stays while it is cached, but is not fetched ahead."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A row."""

    bucket: str
    key: str
    identity: str
    serial: int


def due(db: Database, now: float) -> Pin | None:
    """The pin that has waited the longest for its look. Raises StoreFailed."""
    rows = db.read("SELECT bucket, key, identity, serial FROM pin WHERE due <= ? ORDER BY due LIMIT 1", (now,))
    return Pin(*rows[0]) if rows else None


def is_noted(db: Database, bucket: str, key: str) -> bool:
    """Whether a name is pinned. Raises StoreFailed."""
    return bool(db.read("SELECT 1 FROM pin WHERE bucket = ? AND key = ?", (bucket, key)))


def has_any(db: Database) -> bool:
    """Whether any name is pinned. Raises StoreFailed."""
    return bool(db.read("SELECT 1 FROM pin LIMIT 1"))


def counts(db: Database) -> Mapping[State, int]:
    """How many names are in which state. Raises StoreFailed."""
    found = dict(db.read("SELECT state, count(*) FROM pin GROUP BY state"))
    return {state: found.get(state, 0) for state in STATES}


def taken(db: Database) -> tuple[int, int]:
    """How many entries are pinned, and their bytes. Raises StoreFailed."""
    count, size = db.read("SELECT count(*), ifnull(sum(bytes), 0) FROM entry WHERE pinned = 1")[0]
    return count, size


# What follows writes.


def note(db: apsw.Connection, bucket: str, key: str, identity: str) -> None:
    """Have a name looked at: it is pinned, or may be. It is read as the identity that was given it last."""
    db.execute(
        "UPDATE pin SET identity = ?, due = 0, state = 'waiting', serial = serial + 1 WHERE bucket = ? AND key = ?",
        (identity, bucket, key),
    )
    if not db.changes():
        db.execute(
            "INSERT INTO pin (bucket, key, identity) SELECT ?, ?, ? WHERE (SELECT count(*) FROM pin) < ?",
            (bucket, key, identity, MAX_PINS),
        )


def follow(db: apsw.Connection, spot: Spot, tags: Tags, identity: str) -> None:
    """Note what tags say, that were just heard of the newest version of an object; None: nothing was heard."""
    if spot.version or tags is None:
        return
    if not is_pinned(tags):
        forget(db, spot.bucket, spot.key)
    else:
        note(db, spot.bucket, spot.key, identity)


def put(db: apsw.Connection, spot: Spot, new: New, used: float) -> tuple[int, int, int]:
    """Write a new entry (`entries.put`), and note what its tags say."""
    written = entries.put(db, spot, new, used)
    follow(db, spot, new.tags, new.identity)
    return written


def settle(db: apsw.Connection, pin: Pin, state: State, due: float) -> None:
    """Note what came of a look, unless something has happened to the name since."""
    db.execute(
        "UPDATE pin SET state = ?, due = ? WHERE bucket = ? AND key = ? AND serial = ?",
        (state, due, pin.bucket, pin.key, pin.serial),
    )


def fasten(db: apsw.Connection, pin: Pin, *, stays: bool) -> None:
    """Have what is cached of a name stay, or not any more."""
    db.execute(
        "UPDATE entry SET pinned = ? WHERE bucket = ? AND key = ? AND version = ''", (stays, pin.bucket, pin.key)
    )


def forget(db: apsw.Connection, bucket: str, key: str) -> None:
    """Note that a name is not pinned: what is cached of it is as any other."""
    db.execute("DELETE FROM pin WHERE bucket = ? AND key = ?", (bucket, key))
    db.execute("UPDATE entry SET pinned = 0 WHERE bucket = ? AND key = ? AND version = ''", (bucket, key))
