"""What a fake S3 holds, and how its operations are asked and answer."""

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from s3d.api import AnyHeaders, Body
from s3d.errors import S3Error

CONTENT = ("Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control", "Expires")
OWNER = {"ID": "fake", "DisplayName": "fake"}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object."""

    key: str
    id: str
    data: bytes = b""
    etag: str = ""
    modified: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    """Content headers and metadata, as they are shown."""
    sums: Mapping[str, str] = field(default_factory=dict)
    """Checksum headers."""
    tags: tuple[tuple[str, str], ...] = ()
    marker: bool = False
    parts: tuple[int, ...] = ()
    """Sizes of the parts of a multipart object."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an upload."""

    data: bytes
    etag: str
    modified: float
    sums: Mapping[str, str]


@dataclass(slots=True)
class Upload:
    """An open multipart upload."""

    id: str
    key: str
    initiated: float
    headers: Mapping[str, str]
    tags: tuple[tuple[str, str], ...]
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """A bucket: of each key its versions, oldest first."""

    name: str
    made: float
    versioning: str = ""
    encryption: dict[str, Any] | None = None
    tags: tuple[tuple[str, str], ...] = ()
    keys: dict[str, list[Version]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def current(self, key: str) -> Version | None:
        """What a plain GET shows; None where there is nothing."""
        versions = self.keys.get(key)
        return None if not versions or versions[-1].marker else versions[-1]

    def add(self, version: Version) -> None:
        """Make a version the current one. Without versioning, it takes the place of the one without an id."""
        versions = self.keys.setdefault(version.key, [])
        if version.id == "null":
            versions[:] = [one for one in versions if one.id != "null"]
        versions.append(version)


@dataclass(slots=True)
class Request:
    """One request, decoded."""

    operation: str
    params: dict[str, Any]
    data: bytes
    headers: AnyHeaders
    sums: Mapping[str, str]
    """Checksums that came with the body, by header."""


@dataclass(slots=True)
class Response:
    """What an operation answers."""

    result: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    body: Body | None = None


class Contents:
    """All that is there, and how it is found."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Take the clock."""
        self._now = now
        self._numbers = itertools.count(1)
        self.buckets: dict[str, Bucket] = {}

    def bucket(self, request: Request) -> Bucket:
        """The bucket of a request."""
        name = request.params["Bucket"]
        if name not in self.buckets:
            raise S3Error(
                "NoSuchBucket", "The specified bucket does not exist", status=404, details={"BucketName": name}
            )
        return self.buckets[name]

    def version(self, bucket: Bucket, key: str, wanted: str | None) -> Version:
        """The version that a request names, or the current one."""
        if wanted is None:
            versions = bucket.keys.get(key)
            if not versions:
                raise S3Error("NoSuchKey", "The specified key does not exist.", status=404, details={"Key": key})
            if versions[-1].marker:
                raise S3Error(
                    "NoSuchKey",
                    "The specified key does not exist.",
                    status=404,
                    details={"Key": key},
                    headers={"x-amz-delete-marker": "true", "x-amz-version-id": versions[-1].id},
                )
            return versions[-1]
        for version in bucket.keys.get(key, ()):
            if version.id == wanted:
                if version.marker:
                    raise S3Error("MethodNotAllowed", "This is a delete marker", status=405)
                return version
        raise S3Error("NoSuchVersion", "The specified version does not exist.", status=404)

    def upload(self, request: Request) -> Upload:
        """The upload of a request."""
        found = self.bucket(request).uploads.get(request.params["UploadId"])
        if found is None or found.key != request.params["Key"]:
            raise S3Error("NoSuchUpload", "The specified upload does not exist.", status=404)
        return found

    def new_id(self, bucket: Bucket) -> str:
        """The id of a new version."""
        return f"v{next(self._numbers):08d}" if bucket.versioning == "Enabled" else "null"


def no_bucket(name: str) -> S3Error:
    """The answer where there is no such bucket."""
    return S3Error("NoSuchBucket", "The specified bucket does not exist", status=404, details={"BucketName": name})


def matches(header: str, etag: str) -> bool:
    """Whether a list of entity tags names this one."""
    return any(tag.strip().strip('"') in (etag, "*") for tag in header.split(","))


def failed() -> S3Error:
    """The answer to a condition that does not hold."""
    return S3Error("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", status=412)


def kept_headers(headers: AnyHeaders) -> dict[str, str]:
    """The headers of a write that come back with the object."""
    kept = {name: headers[name] for name in CONTENT if headers.get(name)}
    kept.update((name.lower(), value) for name, value in headers.items() if name.lower().startswith("x-amz-meta-"))
    return kept


def version_header(version: Version) -> dict[str, str]:
    """The version's id, where it has one."""
    return {} if version.id == "null" else {"x-amz-version-id": version.id}


def header_tags(text: str | None) -> tuple[tuple[str, str], ...]:
    """The tags of a header, sorted by name."""
    parsed = parse_qs(text or "", keep_blank_values=True)
    return tuple(sorted((name, values[0]) for name, values in parsed.items()))


def tags_of(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The tags of a document, sorted by name. Raises S3Error InvalidTag."""
    tags = [(one["Key"], one["Value"]) for one in document.get("TagSet") or ()]
    if len(tags) > 10 or len({name for name, _ in tags}) < len(tags):
        raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key, or more than 10")
    return tuple(sorted(tags))


def shown_tags(tags: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    """Tags as documents have them."""
    return [{"Key": name, "Value": value} for name, value in tags]


def tag_header(tags: tuple[tuple[str, str], ...]) -> str:
    """Tags as a header has them."""
    return urlencode(tags)


def path_of(bucket: str, key: str) -> str:
    """The path of an object, or of its bucket."""
    return f"/{quote(bucket, safe='-_.~')}" + (f"/{quote(key, safe='/-_.~')}" if key else "") if bucket else "/"


def md5(data: bytes) -> str:
    """The MD5 in hex."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def moment(seconds: float) -> datetime:
    """A Unix time as documents have it."""
    return datetime.fromtimestamp(seconds, UTC)


def http_date(seconds: float) -> str:
    """A Unix time as HTTP writes it."""
    return format_datetime(moment(int(seconds)), usegmt=True)
