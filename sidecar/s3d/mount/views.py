"""What is at a path: asked of the S3 each time, so that a mount shows what the S3 door shows (SEMANTICS M-2).

An object and a directory of one name are a directory: what is below it could not be reached otherwise. Directories come
of prefixes and of markers; one that this mount has emptied stays until it is removed, as programs expect it.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from multidict import CIMultiDict

from s3d.client import Answer, Client, request
from s3d.errors import S3Error, Unavailable
from s3d.mount import paths

MAX_EMPTIED = 10_000
"""Directories without a marker that are remembered after their last file went."""
MTIME, MODE = "mtime", "mode"
"""Metadata of an object: when its file was changed (Unix time), and its mode in octal. rclone and s3fs call them so."""
MAX_SECONDS = 1 << 33
"""Times beyond are no times of files."""


@dataclass(frozen=True, slots=True)
class File:
    """A version of an object."""

    bucket: str
    key: str
    etag: str
    """Without quotes."""
    size: int
    modified_ns: int
    executable: bool = False
    members: Mapping[str, Any] = field(default_factory=dict)
    """What a HEAD says of it beside its bytes, by botocore's names."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A prefix, a bucket (its prefix is ""), or the root (its bucket is "")."""

    bucket: str
    prefix: str


Entry = File | Directory


class Views:
    """What the S3 shows, as files and directories."""

    def __init__(self, client: Client) -> None:
        """Ask by a client."""
        self._client = client
        self._emptied: dict[tuple[str, str], None] = {}

    def keep(self, bucket: str, prefix: str) -> None:
        """Let a directory stay, with those that it is in, though nothing may be left in it."""
        while prefix:
            self._emptied.pop((bucket, prefix), None)
            self._emptied[bucket, prefix] = None
            prefix = paths.parent_of(prefix)
        while len(self._emptied) > MAX_EMPTIED:
            del self._emptied[next(iter(self._emptied))]

    def forget(self, bucket: str, prefix: str) -> None:
        """Let a directory go that was removed, with all in it."""
        for kept in self.kept_below(bucket, prefix):
            del self._emptied[bucket, kept]

    def is_kept(self, bucket: str, prefix: str) -> bool:
        """Whether a directory stays without anything in it."""
        return (bucket, prefix) in self._emptied

    def kept_below(self, bucket: str, prefix: str) -> list[str]:
        """The directories that stay so: a prefix, and those below it."""
        return [kept for place, kept in self._emptied if place == bucket and kept.startswith(prefix)]

    async def bucket(self, name: str) -> Directory | None:
        """A bucket; None where there is none. Raises S3DError."""
        try:
            await self._client.head_bucket(name)
        except S3Error as error:
            if error.status in (400, 404):
                return None
            raise
        return Directory(name, "")

    async def look(self, bucket: str, key: str, is_directory: bool | None = None) -> Entry | None:
        """What is at a path in a bucket; None where nothing is. Whether it is a directory may be known. Raises S3DError
        where nobody can say."""
        if is_directory:
            return Directory(bucket, key + "/")
        asked: list[Coroutine[Any, Any, File | bool | None]] = [self.file(bucket, key)]
        if is_directory is None:
            asked.append(self.holds(bucket, key + "/"))
        found, holds = (*await asyncio.gather(*asked, return_exceptions=True), is_directory)[:2]
        if holds is True or self.is_kept(bucket, key + "/"):
            return Directory(bucket, key + "/")
        if isinstance(found, File):
            return found
        if isinstance(holds, BaseException):
            raise holds
        if isinstance(found, Unavailable):
            return await self._listed(bucket, key)
        if isinstance(found, BaseException):
            raise found
        return None

    async def file(self, bucket: str, key: str) -> File | None:
        """An object by a HEAD; None where there is none. Raises S3DError."""
        try:
            return file_of(bucket, key, await self._client.head_object(bucket, key))
        except S3Error as error:
            if error.status == 404:
                return None
            raise

    async def holds(self, bucket: str, prefix: str, *, beside: str | None = None) -> bool:
        """Whether there is a key below a prefix, other than one. Raises S3DError."""
        params = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": 2}
        try:
            found = await self._client.ask("ListObjectsV2", params)
        except Unavailable:
            # What is pending can prove that something is there, and never that nothing is.
            found = await self._pending(params)
            if not any(one["Key"] != beside for one in found.result.get("Contents", ())):
                if beside is not None:
                    raise
                return await self._is_shown(bucket, prefix)
        return any(one["Key"] != beside for one in found.result.get("Contents", ()))

    async def _is_shown(self, bucket: str, prefix: str) -> bool:
        """Whether a directory is in the listing of the one that it is in, which may be remembered where what is below
        it is not. Raises S3DError."""
        params = {"Bucket": bucket, "Prefix": prefix.removesuffix("/"), "Delimiter": "/"}
        async for page in self._pages(params):
            prefixes = [one["Prefix"] for one in page.get("CommonPrefixes", ())]
            if prefix in prefixes:
                return True
            if any(name > prefix for name in (*prefixes, *(one["Key"] for one in page.get("Contents", ())))):
                return False
        return False

    async def _pending(self, params: Mapping[str, Any]) -> Answer:
        call = request("ListObjectsV2", params)
        headers = CIMultiDict(call.wire.headers)
        headers["x-s3d-listing"] = "pending"
        return await self._client.send(replace(call, wire=replace(call.wire, headers=headers)))

    async def _listed(self, bucket: str, key: str) -> File | None:
        """An object by a listing, which may be remembered where a HEAD of it is not."""
        found = await self._client.ask(
            "ListObjectsV2", {"Bucket": bucket, "Prefix": key, "Delimiter": "/", "MaxKeys": 1}
        )
        for one in found.result.get("Contents", ()):
            if one["Key"] == key:
                return listed_file(bucket, one)
        return None

    async def entries(self, place: Directory) -> AsyncIterator[tuple[str, Entry]]:
        """Yield what is in a directory, each name once. Raises S3DError; what nobody can say in whole is an error."""
        if not place.bucket:
            found = await self._client.ask("ListBuckets", {})
            for one in found.result.get("Buckets", ()):
                yield one["Name"], Directory(one["Name"], "")
            return
        for kept in self.kept_below(place.bucket, place.prefix):
            if kept != place.prefix and paths.parent_of(kept) == place.prefix:
                yield paths.name_of(kept), Directory(place.bucket, kept)
        params = {"Bucket": place.bucket, "Prefix": place.prefix, "Delimiter": "/"}
        async for page in self._pages(params):
            directories = {one["Prefix"] for one in page.get("CommonPrefixes", ())}
            for prefix in directories:
                if paths.has_place(name := paths.name_of(prefix)):
                    yield name, Directory(place.bucket, prefix)
            for one in page.get("Contents", ()):
                name = one["Key"][len(place.prefix) :]
                if paths.has_place(name) and one["Key"] + "/" not in directories:
                    yield name, listed_file(place.bucket, one)

    async def keys(self, bucket: str, prefix: str, most: int) -> list[str]:
        """The keys below a prefix, one more than `most` where there are more. Raises S3DError."""
        keys: list[str] = []
        async for page in self._pages({"Bucket": bucket, "Prefix": prefix}):
            keys += [one["Key"] for one in page.get("Contents", ())]
            if len(keys) > most:
                break
        return keys[: most + 1]

    async def _pages(self, params: dict[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the pages of a listing. Raises S3DError."""
        while True:
            page = (await self._client.ask("ListObjectsV2", params)).result
            yield page
            if not page.get("IsTruncated"):
                return
            params = {**params, "ContinuationToken": page["NextContinuationToken"]}


def file_of(bucket: str, key: str, answer: Answer) -> File:
    """The file that an answer to a HEAD shows."""
    members, metadata = answer.result, answer.result.get("Metadata", {})
    return File(
        bucket,
        key,
        answer.etag,
        members.get("ContentLength", 0),
        time_in(metadata) or nanoseconds(members.get("LastModified")),
        is_executable(metadata),
        members,
    )


def listed_file(bucket: str, one: Mapping[str, Any]) -> File:
    """The file that an entry of a listing shows; its metadata is not in there."""
    etag = one.get("ETag", "").strip('"')
    return File(bucket, one["Key"], etag, one.get("Size", 0), nanoseconds(one.get("LastModified")))


def nanoseconds(moment: datetime | None) -> int:
    """A time in ns; 0 where none is said."""
    return int(moment.timestamp()) * 10**9 if moment is not None else 0


def time_in(metadata: Mapping[str, str]) -> int:
    """The time of the file in ns, as it was kept with the object; 0 where it was not."""
    seconds, _, fraction = metadata.get(MTIME, "").partition(".")
    if not (seconds.isdecimal() and seconds.isascii()) or int(seconds) > MAX_SECONDS:
        return 0
    return int(seconds) * 10**9 + (
        int(fraction[:9].ljust(9, "0")) if fraction.isdecimal() and fraction.isascii() else 0
    )


def is_executable(metadata: Mapping[str, str]) -> bool:
    """Whether the mode that was kept with the object lets its owner execute it."""
    mode = metadata.get(MODE, "")
    return re.fullmatch(r"[0-7]{3,6}", mode) is not None and bool(int(mode, 8) & 0o100)


def metadata_of(modified_ns: int, *, executable: bool) -> dict[str, str]:
    """What is kept with an object of its file."""
    seconds, fraction = divmod(modified_ns, 10**9)
    return {MTIME: f"{seconds}.{fraction:09d}", MODE: "100755" if executable else "100644"}
