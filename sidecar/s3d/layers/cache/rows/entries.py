"""All SQL of the index. What is read here runs on the loop, by an index; what is written is given a connection."""

import heapq
import itertools
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import apsw
from multidict import CIMultiDict

from s3d.api import Headers
from s3d.store.db import Database
from s3d.store.opening import Schema

SCHEMA = Schema(version=2, sql=resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8"))
Tables = apsw.Connection
COLUMNS = "id, etag, length, file, blocks, bytes, head, validated, tags, pinned"
BELOW = "id > ? AND (? = '' OR bucket = ?) AND substr(key, 1, length(?)) = ?"
"""Which entries a person means: those behind one of them, of a bucket (or all), and below a prefix."""
Tags = Mapping[str, str] | None
"""Tags of an object or a bucket; None: nobody said them."""
TAG = "s3d.cache"
"""The tag by which an object is cached (true, or pin), or is not (false), whatever the filter says."""
PIN = "pin"
"""Its value for an object that stays."""
MAX_LISTED = 200
"""Most entries in a page of a list."""


@dataclass(frozen=True, slots=True)
class Spot:
    """What requests ask for: a version of an object, or the object."""

    bucket: str
    key: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row."""

    id: int
    etag: str
    length: int
    file: str
    blocks: "array[int]"
    bytes: int
    head: Headers | None
    validated: float
    tags: Tags
    pinned: bool


@dataclass(frozen=True, slots=True)
class New:
    """What is written of an entry."""

    etag: str
    length: int
    file: str
    blocks: bytes
    bytes: int
    head: Headers | None
    validated: float
    granted: Mapping[str, float]
    tags: Tags
    identity: str
    """For whom it came."""


def is_pinned(tags: Tags) -> bool:
    """Whether the tags of an object say that it stays."""
    return tags is not None and tags.get(TAG) == PIN


def find(db: Database, spot: Spot) -> Entry | None:
    """The entry of a spot. Raises StoreFailed."""
    rows = db.read(
        f"SELECT {COLUMNS} FROM entry WHERE bucket = ? AND key = ? AND version = ?",
        (spot.bucket, spot.key, spot.version),
    )
    if not rows:
        return None
    return _entry(rows[0])


def _entry(row: tuple[Any, ...]) -> Entry:
    number, etag, length, file, blocks, size, head, validated, tags, pinned = row
    read = None if tags is None else json.loads(tags)
    return Entry(number, etag, length, file, array("Q", blocks), size, loaded(head), validated, read, bool(pinned))


def is_cached(db: Database, bucket: str, key: str) -> bool:
    """Whether there is an entry of a key, or of a bucket where no key is named."""
    if key:
        return bool(db.read("SELECT 1 FROM entry WHERE bucket = ? AND key = ? LIMIT 1", (bucket, key)))
    return bool(db.read("SELECT 1 FROM entry WHERE bucket = ? LIMIT 1", (bucket,)))


def granted_at(db: Database, entry: int, identity: str) -> float | None:
    """When the remote last gave an entry to an identity, as far as it is written."""
    rows = db.read("SELECT at FROM granted WHERE entry = ? AND identity = ?", (entry, identity))
    return float(rows[0][0]) if rows else None


def totals(db: Database) -> tuple[int, int]:
    """How many entries there are, and how many bytes the disk gave for them."""
    count, size = db.read("SELECT count(*), ifnull(sum(bytes), 0) FROM entry")[0]
    return count, size


def newest(db: Database) -> float:
    """The newest time in the index."""
    of_each = "SELECT max(used) AS used FROM entry WHERE pinned = "
    return float(db.read(f"SELECT ifnull(max(used), 0) FROM ({of_each}0 UNION ALL {of_each}1)")[0][0])


def meta(db: Database) -> dict[str, str]:
    """What is kept beside the entries."""
    return dict(db.read("SELECT name, value FROM meta"))


def known_files(db: Database, names: Sequence[str]) -> set[str]:
    """Those of some files that an entry names."""
    return {name for name in names if db.read("SELECT 1 FROM entry WHERE file = ?", (name,))}


def garbage(db: Database, most: int) -> list[str]:
    """Some files to delete."""
    return [file for (file,) in db.read("SELECT file FROM garbage LIMIT ?", (most,))]


def some(db: Database, after: int, most: int = MAX_LISTED) -> list[tuple[Spot, Entry]]:
    """Some entries behind one of them, in the order in which they came. Raises StoreFailed."""
    rows = db.read(f"SELECT bucket, key, version, {COLUMNS} FROM entry WHERE id > ? ORDER BY id LIMIT ?", (after, most))
    return [(Spot(*row[:3]), _entry(row[3:])) for row in rows]


def next_of(db: Database, bucket: str, prefix: str, after: int) -> tuple[Spot, Entry] | None:
    """The entry that came after one of them, of those below a prefix, of a bucket, or of all. Raises StoreFailed."""
    rows = db.read(
        f"SELECT bucket, key, version, {COLUMNS} FROM entry WHERE {BELOW} ORDER BY id LIMIT 1",
        (after, bucket, bucket, prefix, prefix),
    )
    return (Spot(*rows[0][:3]), _entry(rows[0][3:])) if rows else None


def listed(db: Database, bucket: str, prefix: str, after: int) -> list[dict[str, object]]:
    """A page of the entries, in the order in which they came, behind one of them."""
    names = ("id", "bucket", "key", "version", "etag", "length", "bytes", "validated", "used", "pinned")
    rows = db.read(
        f"SELECT {', '.join(names)} FROM entry WHERE {BELOW} ORDER BY id LIMIT ?",
        (after, bucket, bucket, prefix, prefix, MAX_LISTED),
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


# What follows writes.


def put(db: apsw.Connection, spot: Spot, new: New, used: float) -> tuple[int, int, int]:
    """Write a new entry in the place of one of another version; its number, how many went, and their bytes."""
    gone, freed = _drop(db, "bucket = ? AND key = ? AND version = ?", (spot.bucket, spot.key, spot.version))
    db.execute(
        """INSERT INTO entry (bucket, key, version, etag, length, file, blocks, bytes, head, validated, used, tags)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            *(spot.bucket, spot.key, spot.version),
            *(new.etag, new.length, new.file, new.blocks, new.bytes, dumped(new.head), new.validated, used),
            None if new.tags is None else json.dumps(dict(new.tags)),
        ),
    )
    number = db.last_insert_rowid()
    grant(db, number, new.granted)
    return number, gone, freed


def grow(db: apsw.Connection, entry: int, new: New) -> bool:
    """Write what has come of an entry since; False where it has gone."""
    db.execute(
        "UPDATE entry SET blocks = ?, bytes = ? WHERE id = ? AND file = ?", (new.blocks, new.bytes, entry, new.file)
    )
    if not db.changes():
        return False
    grant(db, entry, new.granted)
    return True


def grant(db: apsw.Connection, entry: int, granted: Mapping[str, float]) -> None:
    """Note to whom the remote has given an entry, if it is there."""
    db.executemany(
        "INSERT OR REPLACE INTO granted SELECT id, ?, ? FROM entry WHERE id = ?",
        [(identity, at, entry) for identity, at in granted.items()],
    )


def touch(db: apsw.Connection, entry: int, at: float, head: Headers | None) -> None:
    """Note that the remote has said at a time that an entry is the newest version, and by which headers."""
    db.execute(
        "UPDATE entry SET validated = max(validated, ?), head = ifnull(?, head) WHERE id = ?", (at, dumped(head), entry)
    )


def retag(db: apsw.Connection, entry: int, tags: Tags) -> None:
    """Note the tags of an entry."""
    db.execute("UPDATE entry SET tags = ? WHERE id = ?", (None if tags is None else json.dumps(dict(tags)), entry))


def use(db: apsw.Connection, entry: int, at: float) -> None:
    """Note when an entry was read."""
    db.execute("UPDATE entry SET used = max(used, ?) WHERE id = ?", (at, entry))


def revoke(db: apsw.Connection, entry: int, identity: str) -> None:
    """Take an identity's right to an entry."""
    db.execute("DELETE FROM granted WHERE entry = ? AND identity = ?", (entry, identity))


def drop(db: apsw.Connection, bucket: str, key: str, prefix: str = "") -> tuple[int, int]:
    """Drop every version of a key; of a bucket what is below a prefix where no key is named; all where no bucket is.
    How many, and their bytes."""
    if key:
        return _drop(db, "bucket = ? AND key = ?", (bucket, key))
    if bucket:
        return _drop(db, "bucket = ? AND substr(key, 1, length(?)) = ?", (bucket, prefix, prefix))
    return _drop(db, "1", ())


def drop_file(db: apsw.Connection, file: str) -> tuple[int, int]:
    """Drop the entry of a file: how many, and their bytes."""
    return _drop(db, "file = ?", (file,))


def drop_files(db: apsw.Connection, files: Sequence[str]) -> tuple[int, int]:
    """Drop the entries of some files."""
    went = [drop_file(db, file) for file in files]
    return sum(count for count, _ in went), sum(size for _, size in went)


def drop_unused(db: apsw.Connection, before: float) -> tuple[int, int]:
    """Drop what was last read before a time, and is not pinned."""
    return _drop(db, "pinned = 0 AND used < ?", (before,))


def evict(db: apsw.Connection, size: int, files: int, share: tuple[int, int] | None) -> tuple[int, int]:
    """Drop what was not read for the longest time until so many bytes and files are free; how many, and their bytes.

    What is pinned stays while it takes no more than its share (bytes, files); beyond that it is as any other. Without a
    share it goes too, as the last.
    """
    count, freed, last = 0, 0, []
    over_size, over_files = _beyond(db, share) if share is not None else (0, 0)
    for pinned, number, taken in _by_use(db, together=over_size > 0 or over_files > 0):
        if freed >= size and count >= files:
            break
        if pinned and share is not None:
            if over_size <= 0 and over_files <= 0:
                continue
            over_size, over_files = over_size - taken, over_files - 1
        count, freed = count + 1, freed + taken
        last.append((number,))
    db.executemany("DELETE FROM entry WHERE id = ?", last)
    return count, freed


def _beyond(db: apsw.Connection, share: tuple[int, int]) -> tuple[int, int]:
    """Bytes and files that are pinned beyond a share; negative within it."""
    files, size = db.execute("SELECT count(*), ifnull(sum(bytes), 0) FROM entry WHERE pinned = 1").get
    return size - share[0], files - share[1]


def _by_use(db: apsw.Connection, *, together: bool) -> Iterable[tuple[int, int, int]]:
    """The entries, the one that was not read for the longest time first: whether it is pinned, number and bytes.
    Pinned ones come after all others, unless they are to come together."""
    each = "SELECT used, pinned, id, bytes FROM entry WHERE pinned = ? ORDER BY used"
    loose, pinned = db.execute(each, (0,)), db.execute(each, (1,))
    for _, *entry in heapq.merge(loose, pinned) if together else itertools.chain(loose, pinned):
        yield entry[0], entry[1], entry[2]


def _drop(db: apsw.Connection, where: str, values: tuple[object, ...]) -> tuple[int, int]:
    found = db.execute(f"SELECT count(*), ifnull(sum(bytes), 0) FROM entry WHERE {where}", values).get
    db.execute(f"DELETE FROM entry WHERE {where}", values)
    count, size = found
    return count, size


def forget_garbage(db: apsw.Connection, files: Sequence[str]) -> None:
    """Note that files are deleted."""
    db.executemany("DELETE FROM garbage WHERE file = ?", [(file,) for file in files])


def keep(db: apsw.Connection, values: Mapping[str, str]) -> None:
    """Keep something beside the entries."""
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))


def dumped(head: Headers | None) -> str | None:
    """Headers as they are kept."""
    return None if head is None else json.dumps(list(head.items()))


def loaded(text: str | None) -> Headers | None:
    """Headers as they were kept."""
    return None if text is None else CIMultiDict([(name, value) for name, value in json.loads(text)])
