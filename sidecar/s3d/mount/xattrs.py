"""Extended attributes: what the S3 says of an object beside its bytes, and its tags.

`user.s3d.etag` and `user.s3d.content-type` are read only; `user.s3.tag.NAME` is a tag, which may be set and removed.
"""

import errno
import os
from typing import Any

from s3d.client import Client
from s3d.mount.views import File, Views

TAG = "user.s3.tag."
ETAG, TYPE = "user.s3d.etag", "user.s3d.content-type"


class Xattrs:
    """Extended attributes of files."""

    def __init__(self, client: Client, shown: Views) -> None:
        """Ask by a client."""
        self._client = client
        self._views = shown

    async def get(self, file: File, name: str) -> bytes:
        """The value of one. Raises OSError where there is none, and S3DError."""
        if name == ETAG and file.etag:
            return file.etag.encode()
        if name == TYPE and (found := await self._views.file(file.bucket, file.key)):
            return str(found.members.get("ContentType", "")).encode()
        if name.startswith(TAG):
            tags = await self._tags(file)
            if name.removeprefix(TAG) in tags:
                return tags[name.removeprefix(TAG)].encode()
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    async def names(self, file: File) -> list[str]:
        """All there are. Raises S3DError."""
        return [ETAG, TYPE, *(TAG + tag for tag in await self._tags(file))] if file.etag else []

    async def set(self, file: File, name: str, value: bytes | None) -> dict[str, str]:
        """Set a tag, or remove it (None); all that there are then.

        Raises OSError for what is no tag, or not there, and S3DError.
        """
        if not name.startswith(TAG):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        tags = await self._tags(file)
        tag = name.removeprefix(TAG)
        if value is not None:
            tags[tag] = value.decode(errors="replace")
        elif tags.pop(tag, None) is None:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        pairs = [{"Key": name, "Value": said} for name, said in tags.items()]
        if pairs:
            await self._client.ask("PutObjectTagging", {**of(file), "Tagging": {"TagSet": pairs}})
        else:
            await self._client.ask("DeleteObjectTagging", of(file))
        return tags

    async def _tags(self, file: File) -> dict[str, str]:
        if not file.etag:
            return {}
        return (await self._client.ask("GetObjectTagging", of(file))).tags


def of(file: File) -> dict[str, Any]:
    """The members that name an object."""
    return {"Bucket": file.bucket, "Key": file.key}
