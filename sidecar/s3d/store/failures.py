"""The errors of the local dir, and what errors of SQLite and of the operating system are turned into."""

from errno import EDQUOT, ENOSPC

import apsw

from s3d.errors import S3DError

# What SQLite raises when the disk, the file or the memory fails, as opposed to the statement.
FAILURES = (
    apsw.IOError,
    apsw.FullError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.NoMemError,
)


class StoreFailed(S3DError):
    """The local dir cannot be written or read. Whether the change was stored is unknown until the next start."""


class NotText(StoreFailed):
    """A row of the local dir holds what is no text. Nothing was stored."""


class StoreFull(StoreFailed):
    """The local dir is full. Nothing was stored."""


def store_error(error: Exception, what: str) -> StoreFailed:
    """Turn an error of SQLite or of the operating system into ours."""
    full = isinstance(error, apsw.FullError) or (isinstance(error, OSError) and error.errno in {ENOSPC, EDQUOT})
    kind = StoreFull if full else StoreFailed
    hint = "make room on the volume of the local dir" if full else "look at the volume of the local dir"
    return kind(f"{what}: {error}", hint=hint)
