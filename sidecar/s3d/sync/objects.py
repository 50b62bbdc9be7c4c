"""The prefix at the remote, as the gateway shows it: with what is pending, so that own uploads are no news (R-1).

Every write says what it expects, and parks where the remote turns out to have something else (Q-18b): nothing that
stood there is replaced by somebody who has not seen it.
"""

import base64
import mimetypes
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_plus

from s3d.api import Body, Terms
from s3d.client import Answer, Client
from s3d.errors import NotS3, S3Error
from s3d.protocol.answers import etag_of
from s3d.sync.names import TRASH, why_not_key
from s3d.sync.trees import Content, There

TAG = "s3d.sync"
"""The tag of an object that is left out where its value is `false` (S-4b)."""
EXECUTABLE = 0o111
QUEUE_SHARE = 0.5
"""How full of its limits the folder makes the write queue: the rest is left to the writes of apps."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the listing."""

    objects: tuple[There, ...]
    is_known: bool
    """Whether a name that it does not show is not there."""


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects below a prefix."""

    client: Client
    bucket: str
    prefix: str
    name: str
    """What the folder is called."""

    async def pages(self) -> AsyncIterator[Page]:
        """List all of them, past every memory (C-12). Raises S3Error; what was listed before is then not all."""
        asked: dict[str, Any] = {"Bucket": self.bucket, "Prefix": self.prefix, "EncodingType": "url"}
        trash = f"{self.prefix}{TRASH}/"
        while True:
            answer = await self.client.ask("ListObjectsV2", asked, fresh=True)
            page = answer.result
            plain = unquote_plus if page.get("EncodingType") == "url" else str
            keys = [(plain(one["Key"]), one) for one in page.get("Contents", ())]
            objects = [
                There(
                    key.removeprefix(self.prefix),
                    etag_of(one["ETag"]),
                    int(one["Size"]),
                    one["LastModified"].timestamp(),
                )
                for key, one in keys
                if key.startswith(self.prefix) and not key.startswith(trash) and not key.endswith("/")
            ]
            yield Page(tuple(objects), answer.source != "stale")
            if not page.get("IsTruncated"):
                return
            token = page.get("NextContinuationToken")
            if not token or token == asked.get("ContinuationToken"):
                raise NotS3("A page of a listing does not say where the next one begins", answered=answer.status)
            asked["ContinuationToken"] = token

    async def look(self, path: str) -> str:
        """Have the gateway see what the remote has of a path, and return the ETag: a listing teaches it nothing, and
        what it saw before may be what it refused a write for. Raises S3Error."""
        return (await self.client.head_object(self.bucket, self.prefix + path, fresh=True)).etag

    async def get(self, path: str, etag: str) -> Answer:
        """Download one version; the caller closes the body. Raises S3Error (412: it is another one by now)."""
        return await self.client.get_object(self.bucket, self.prefix + path, IfMatch=f'"{etag}"')

    async def is_tagged_out(self, path: str) -> bool:
        """Whether an object has a tag that leaves it out (S-4b). Raises S3Error."""
        return (await self.client.ask("GetObjectTagging", self._named(path))).tags.get(TAG) == "false"

    async def put(self, path: str, body: Body, content: Content, expects: str, *, mtime_ns: int, mode: int) -> str:
        """Upload a file and return its ETag. Raises S3Error (412: the remote has something else), and what the body
        raises."""
        digest = base64.b64encode(bytes.fromhex(content.md5)).decode()
        params = {**self._named(path), **_described(path, mtime_ns, mode), "ContentMD5": digest}
        return (await self.client.ask("PutObject", params, body, terms=self._terms(expects))).etag

    async def copy(self, source: tuple[str, str], path: str, *, mtime_ns: int, mode: int) -> str:
        """Have the remote make a new object of what a path has there under an ETag, as an upload would have made it,
        and return its ETag. Raises S3Error (412: the source has another one by now, or there is an object)."""
        said = _described(path, mtime_ns, mode) | {"MetadataDirective": "REPLACE", "TaggingDirective": "REPLACE"}
        etag = await self._copy(source, path, self._terms(""), said)
        # What is deleted when this is there asks whether it was seen.
        with suppress(S3Error):
            await self.look(path)
        return etag

    async def to_trash(self, path: str, etag: str) -> str:
        """Copy one version to the trash of the remote, and return the path there, in whose name the version is: what
        was copied once is not copied beside itself. Raises S3Error (412: it is another one by now)."""
        kept = f"{TRASH}/{etag}/{path}"
        if reason := why_not_key(self.prefix + kept):
            raise S3Error("KeyTooLongError", f"It cannot be kept in the trash of the remote: {reason}", status=400)
        await self._copy((path, etag), kept, Terms(name=self.name, share=QUEUE_SHARE), {})
        return kept

    async def _copy(self, source: tuple[str, str], path: str, terms: Terms, said: Mapping[str, Any]) -> str:
        of, etag = source
        copied = {"CopySource": quote(f"{self.bucket}/{self.prefix}{of}"), "CopySourceIfMatch": f'"{etag}"'}
        params = {**self._named(path), **copied, **said}
        answer = await self.client.ask("CopyObject", params, terms=terms)
        return etag_of(answer.result["CopyObjectResult"]["ETag"])

    async def delete(self, path: str, expects: str, after: tuple[str, str] | None) -> None:
        """Delete an object; `after` is a path and the ETag that it must have there before. Raises S3Error."""
        first = (self.bucket, self.prefix + after[0], after[1]) if after else None
        await self.client.ask("DeleteObject", self._named(path), terms=self._terms(expects, first))

    def _named(self, path: str) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self.prefix + path}

    def _terms(self, expects: str, after: tuple[str, str, str] | None = None) -> Terms:
        return Terms(expects=expects, after=after, conflict="Park", always=True, name=self.name, share=QUEUE_SHARE)


def _described(path: str, mtime_ns: int, mode: int) -> dict[str, Any]:
    """What is said of a file beside its bytes."""
    kind, coding = mimetypes.guess_type(path, strict=False)
    # The time as rclone writes it, so that either reads the other's.
    metadata = {"mtime": f"{mtime_ns // 10**9}.{mtime_ns % 10**9:09}"}
    if mode & EXECUTABLE:
        metadata["s3d-mode"] = "x"
    return {"ContentType": kind if kind and not coding else "application/octet-stream", "Metadata": metadata}
