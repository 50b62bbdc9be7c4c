"""Opens the database file: which SQLite, which file and which version of its tables are taken, and which are refused.

A file that is refused is left as it is. What it takes to be durable is set here, for every connection.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from s3d.errors import ConfigError
from s3d.store.failures import FAILURES, StoreFailed, store_error
from s3d.store.syncs import sync_dir

WAL_LIMIT = 64 << 20
"""Bytes that the WAL file may keep after a burst."""
QUICK_CHECK_LIMIT = 64 << 20
"""Largest file, in bytes, that is checked page by page when it is reopened."""
BUSY_TIMEOUT = 5000
"""Milliseconds; our two connections meet for the length of a statement or of a checkpoint."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a database: `sql` makes them in an empty file, `migrations[n]` leads from version n to n + 1."""

    version: int
    sql: str
    migrations: Mapping[int, str] = field(default_factory=dict)


def open_both(path: Path, schema: Schema) -> tuple[apsw.Connection, apsw.Connection]:
    """Open or create the file, bring an older one up to `schema`: a connection that writes, and one that only reads.

    Blocks. Raises ConfigError for a file of a newer version (which is left untouched), for one that is no database, for
    a file system without WAL and for an SQLite that can lose commits; StoreFailed when the disk fails.
    """
    check_library(apsw.sqlite_lib_version())
    try:
        in_header = _version_in_header(path)
        _refuse_newer(path, in_header, schema)
        _refuse_half(path)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        writer = connect(path)
        try:
            # From here on nobody opens the file but SQLite: to close it would let go of SQLite's locks on it.
            _migrate(writer, path, schema, in_header)
            # The WAL exists by now. SQLite syncs its name with fdatasync, which POSIX lets leave out names.
            sync_dir(path.parent)
            reader = connect(path)
        except BaseException:
            writer.close()
            raise
        reader.execute("PRAGMA query_only = ON")
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise ConfigError(
            f"{path} is not a readable database: {error}",
            hint=f"to start without it, move {path.parent} aside as a whole: the database, its -wal and -shm, and "
            "the bodies beside them; what they still hold is then not pushed",
        ) from error
    except (*FAILURES, apsw.BusyError, OSError) as error:
        raise store_error(error, f"{path} cannot be opened") from error
    return writer, reader


def check_library(version: str) -> None:
    """Refuse an SQLite whose WAL-reset bug can lose commits (https://sqlite.org/wal.html)."""
    number = tuple(int(part) for part in version.split("."))
    mended = number >= (3, 51, 3) or (3, 50, 7) <= number < (3, 51) or (3, 44, 6) <= number < (3, 45)
    if not mended:
        raise ConfigError(f"SQLite {version} can lose commits", hint="install an apsw with SQLite 3.51.3 or newer")


def connect(path: Path) -> apsw.Connection:
    """Open an existing file with full durability. Raises ConfigError where WAL is not to be had."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=200)
    try:
        db.set_busy_timeout(BUSY_TIMEOUT)
        # A file that turns out to be newer must be left as it is.
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # Else SQLite compiles a statement anew whenever a value that is bound to it could make another plan better.
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        journal = db.pragma("journal_mode", "WAL")
        db.execute("PRAGMA synchronous = FULL")
        synchronous = db.pragma("synchronous")
        db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        # A pod's /tmp is read-only; without a temporary file even a savepoint would be an I/O error.
        db.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        db.close()
        raise
    if (journal, synchronous) != ("wal", 2):
        db.close()
        raise ConfigError(
            f"{path} cannot be written durably (journal {journal}, synchronous {synchronous})",
            hint="the local dir must be on a local file system with shared memory",
        )
    return db


def log_of(path: Path) -> Path:
    """The WAL of a database."""
    return path.with_name(f"{path.name}-wal")


def is_new(path: Path) -> bool:
    """Whether a database is not there, or nobody has made its tables yet."""
    return _version_in_header(path) == 0


def _version_in_header(path: Path) -> int:
    """Read `user_version` without opening the database, which could change it. 0 for a file that is not there.

    Offset 60 of the header (https://sqlite.org/fileformat.html). It is never behind: a migration ends in a checkpoint.
    """
    try:
        with path.open("rb") as file:
            return int.from_bytes(file.read(64)[60:64], "big")
    except FileNotFoundError:
        return 0


def _refuse_newer(path: Path, version: int, schema: Schema) -> None:
    if version > schema.version:
        raise ConfigError(
            f"{path} was written by a newer s3d (version {version} of its tables; this one knows {schema.version})",
            hint="start the newer s3d on this local dir, or give this one a local dir of its own",
        )


def _refuse_half(path: Path) -> None:
    """Refuse a database whose log is gone and a log whose database is: SQLite would go on with what the rest holds.

    Once the tables are made both are there, since no connection of ours removes the log: bytes 18 and 19 of the header
    say that there is one, and 60 to 63 are the tables' version. Before that a crash may leave one without the other.
    """
    log_path = log_of(path)
    try:
        with path.open("rb") as file:
            header = file.read(64)
    except FileNotFoundError:
        header = b""
    if not header and log_path.exists():
        missing, left = path, log_path
    elif header[18:20] == b"\2\2" and any(header[60:]) and not log_path.exists():
        missing, left = log_path, path
    else:
        return
    hint = f"put it back; to start without it, move {path.parent} aside as a whole and look into it"
    if missing == log_path:
        # Nothing in the file tells a log that was lost from one that was written into it.
        hint += (
            f"; where another program (sqlite3) has opened {path.name} while s3d did not run, it has written the log "
            f"into it and deleted it: then nothing is missing, and `touch {missing}` lets s3d go on"
        )
    raise ConfigError(
        f"{missing} is gone or empty, and what {left.name} holds is only a part of what was acknowledged", hint=hint
    )


def _migrate(db: apsw.Connection, path: Path, schema: Schema, in_header: int) -> None:
    """Bring the tables to the schema's version in one transaction, and that into the header of the file, where the
    version is `in_header` now."""
    version = db.pragma("user_version")
    _refuse_newer(path, version, schema)
    if version < schema.version:
        steps = [schema.sql] if not version else [schema.migrations[n] for n in range(version, schema.version)]
        db.execute("BEGIN IMMEDIATE")
        for step in steps:
            db.execute(step)
        db.execute(f"PRAGMA user_version = {schema.version}")
        db.execute("COMMIT")
    if in_header != schema.version:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def check_pages(db: apsw.Connection, path: Path) -> None:
    """Refuse a damaged file, as far as it is small enough to be read page by page. Raises StoreFailed."""
    if path.stat().st_size <= QUICK_CHECK_LIMIT and (found := db.execute("PRAGMA quick_check(1)").get) != "ok":
        raise StoreFailed(f"{path} is damaged: {found}", hint="stop s3d and look at the volume of the local dir")
