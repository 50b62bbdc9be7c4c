"""Which error becomes which errno: the one table (SEMANTICS M-3). Pure.

A code wins over a status. A program that gets EIO has met an outage or a damage; ENOSPC means that nothing more is
taken just now, EACCES that the store refuses, ESTALE that the version which was opened is no longer there.
"""

import errno
from collections.abc import Mapping

from s3d.errors import CorruptBody, S3DError, S3Error, Unavailable
from s3d.store.failures import StoreFull

CODES: Mapping[str, int] = {
    "AccessDenied": errno.EACCES,
    "BucketNotEmpty": errno.ENOTEMPTY,
    "EntityTooLarge": errno.EFBIG,
    "InvalidObjectState": errno.EIO,
    "InvalidRange": errno.ESTALE,
    "InvalidTag": errno.EINVAL,
    "KeyTooLongError": errno.ENAMETOOLONG,
    "MethodNotAllowed": errno.EPERM,
    "NoSuchBucket": errno.ENOENT,
    "NoSuchKey": errno.ENOENT,
    "NotImplemented": errno.EOPNOTSUPP,
    "PreconditionFailed": errno.ESTALE,
    "QuotaExceeded": errno.EDQUOT,
    "XMinioStorageFull": errno.ENOSPC,
}
STATUSES: Mapping[int, int] = {
    400: errno.EINVAL,
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    405: errno.EPERM,
    412: errno.ESTALE,
    416: errno.ESTALE,
    501: errno.EOPNOTSUPP,
    507: errno.ENOSPC,
}
"""For codes that are not in the table above; all other statuses are EIO."""


def of(error: S3DError, *, writes: bool) -> int:
    """The errno of an error, which came of something that writes or reads."""
    match error:
        case StoreFull():
            return errno.ENOSPC
        case CorruptBody() | Unavailable():
            return errno.EIO
        case S3Error(code="SlowDown"):
            # A full queue for who writes; for who reads, a change that is not delivered yet.
            return errno.ENOSPC if writes else errno.EAGAIN
        case S3Error():
            return CODES.get(error.code) or STATUSES.get(error.status, errno.EIO)
    return errno.EIO
