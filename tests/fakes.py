"""An S3 in memory, and faults in front of any S3.

`Fake` stands where `layers/remote.py` stands: it answers requests through the protocol's own encoding. What it does is
held to what real servers do by the contract of a remote (tests/contracts.py). `Flaky` puts outages, lost answers and
late arrivals before an S3, and notes what passed.
"""

import asyncio
import base64
import contextlib
import hashlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from multidict import CIMultiDict

from s3d.api import S3, AnyHeaders, Body, BytesBody, Call, Headers, Reply, Wire, read_all
from s3d.errors import S3Error, Unavailable
from s3d.layers.health import Health
from s3d.layers.judge import Judge
from s3d.protocol import checksums, decode, encode

CONTENT = ("Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control", "Expires")
OVERRIDES = {
    "ResponseContentType": "Content-Type",
    "ResponseContentEncoding": "Content-Encoding",
    "ResponseContentDisposition": "Content-Disposition",
    "ResponseContentLanguage": "Content-Language",
    "ResponseCacheControl": "Cache-Control",
}
SMALLEST_PART = 5 << 20
PREPARING = frozenset(["CreateMultipartUpload", "UploadPart", "UploadPartCopy", "AbortMultipartUpload"])
"""Calls that leave every object as it is."""
ARRIVING = frozenset(["PutObject", "DeleteObject"])
"""Calls whose late arrival is put right, where a newer change was pushed meanwhile."""
PUSHED = frozenset(["PutObject", "DeleteObject", "CompleteMultipartUpload"])
"""Calls by which a put or delete is delivered."""
REFUSED = "EntityTooLarge 400"
"""The fate of a change that is refused for good."""
OWNER = {"ID": "fake", "DisplayName": "fake"}
MUTATIONS = frozenset(
    """PutObject DeleteObject DeleteObjects CopyObject PutObjectTagging DeleteObjectTagging CreateMultipartUpload
    UploadPart UploadPartCopy CompleteMultipartUpload AbortMultipartUpload""".split()
)


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


@dataclass(frozen=True, slots=True)
class NoBytes(Body):
    """The body of an answer to HEAD: it has a length."""

    length: int
    replayable: bool = True

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield nothing."""
        return
        yield b""


class Fake:
    """An S3 in memory."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """Take the clock."""
        self._now = now
        self._numbers = itertools.count(1)
        self._judge = Judge(self._answered)
        self.buckets: dict[str, Bucket] = {}

    async def __call__(self, call: Call) -> Reply:
        """Serve a call as a remote."""
        return await self._judge(call)

    async def _answered(self, call: Call) -> Reply:
        wire = call.wire
        data, sums = b"", {}
        if call.body is not None:
            try:
                data = b"".join([block async for block in call.body.chunks()])
            finally:
                await call.body.aclose()
            sums = {name: value for name, value in call.body.digests.items() if name in checksums.HEADERS}
        wire = replace(wire, path=path_of(call.bucket, call.key), headers=unchunked(wire.headers))
        return self.answer(wire, data, sums)

    def answer(self, wire: Wire, data: bytes, sums: Mapping[str, str]) -> Reply:
        """Answer one request as it would over HTTP."""
        try:
            operation, params = decode.request(wire, ())
            if operation is None or operation.name not in SERVED:
                raise not_served(wire)
            if operation.payload is not None and not operation.streaming_input:
                params.update(decode.input_xml(operation, data))
            verify(wire.headers, data)
            sums = {**sums, **{k.lower(): v for k, v in wire.headers.items() if k.lower() in checksums.HEADERS}}
            response = SERVED[operation.name](self, Request(operation.name, params, data, wire.headers, sums))
        except S3Error as error:
            headers: Headers = CIMultiDict(error.headers)
            if wire.method == "HEAD" or error.status == 304:
                return Reply(error.status, headers, body=BytesBody(b""))
            headers["Content-Type"] = "application/xml"
            document = encode.error(error)
            return Reply(error.status, headers, body=BytesBody(document))
        status, headers, document = encode.result(operation.name, response.result)
        headers.update(response.headers)
        return Reply(response.status or status, headers, body=response.body or BytesBody(document))

    # Look-ups.

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

    # Buckets.

    def create_bucket(self, request: Request) -> Response:
        name = request.params["Bucket"]
        if name in self.buckets:
            raise S3Error("BucketAlreadyOwnedByYou", "You own it already", status=409)
        self.buckets[name] = Bucket(name, self._now())
        return Response(headers={"Location": f"/{name}"})

    def delete_bucket(self, request: Request) -> Response:
        bucket = self.bucket(request)
        if any(bucket.keys.values()):
            raise S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty", status=409)
        del self.buckets[bucket.name]
        return Response(status=204)

    def head_bucket(self, request: Request) -> Response:
        self.bucket(request)
        return Response(headers={"x-amz-bucket-region": "us-east-1"})

    def list_buckets(self, request: Request) -> Response:
        buckets = [{"Name": b.name, "CreationDate": moment(b.made)} for _, b in sorted(self.buckets.items())]
        return Response({"Buckets": buckets, "Owner": OWNER})

    def get_bucket_location(self, request: Request) -> Response:
        self.bucket(request)
        return Response({"LocationConstraint": ""})

    def get_bucket_versioning(self, request: Request) -> Response:
        status = self.bucket(request).versioning
        return Response({"Status": status} if status else {})

    def put_bucket_versioning(self, request: Request) -> Response:
        self.bucket(request).versioning = request.params["VersioningConfiguration"]["Status"]
        return Response()

    def get_object_lock_configuration(self, request: Request) -> Response:
        self.bucket(request)
        raise S3Error("ObjectLockConfigurationNotFoundError", "No object lock here", status=404)

    def get_bucket_encryption(self, request: Request) -> Response:
        found = self.bucket(request).encryption
        if found is None:
            raise S3Error("ServerSideEncryptionConfigurationNotFoundError", "No encryption here", status=404)
        return Response({"ServerSideEncryptionConfiguration": found})

    def get_bucket_tagging(self, request: Request) -> Response:
        tags = self.bucket(request).tags
        if not tags:
            raise S3Error("NoSuchTagSet", "The TagSet does not exist", status=404)
        return Response({"TagSet": shown_tags(tags)})

    def put_bucket_tagging(self, request: Request) -> Response:
        self.bucket(request).tags = tags_of(request.params["Tagging"])
        return Response(status=204)

    def delete_bucket_tagging(self, request: Request) -> Response:
        self.bucket(request).tags = ()
        return Response(status=204)

    # Objects.

    def put_object(self, request: Request) -> Response:
        bucket = self.bucket(request)
        key = request.params["Key"]
        self.check_write(bucket, key, request.params)
        version = Version(
            key,
            self.new_id(bucket),
            request.data,
            md5(request.data),
            self._now(),
            kept_headers(request.headers),
            request.sums,
            header_tags(request.params.get("Tagging")),
        )
        bucket.add(version)
        return Response(headers=written(version))

    def get_object(self, request: Request) -> Response:
        bucket = self.bucket(request)
        params = request.params
        version = self.version(bucket, params["Key"], params.get("VersionId"))
        check_read(version, params)
        headers = described(version)
        start, end, status = 0, len(version.data), 200
        if (number := params.get("PartNumber")) is not None:
            sizes = version.parts or (len(version.data),)
            if not 1 <= number <= len(sizes):
                raise S3Error("InvalidPartNumber", "The requested partnumber is not satisfiable", status=416)
            start = sum(sizes[: number - 1])
            end, status = start + sizes[number - 1], 206
            if version.parts:
                headers["x-amz-mp-parts-count"] = str(len(sizes))
        elif "Range" in params and (stretch := selected(params["Range"], len(version.data))) is not None:
            (start, end), status = stretch, 206
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(version.data)}"
        if params.get("ChecksumMode") == "ENABLED" and end - start == len(version.data):
            headers.update(version.sums)
        for member, name in OVERRIDES.items():
            if member in params:
                headers[name] = params[member]
        if request.operation == "HeadObject":
            return Response(headers=headers, status=status, body=NoBytes(end - start))
        return Response(headers=headers, status=status, body=BytesBody(version.data[start:end]))

    def get_object_attributes(self, request: Request) -> Response:
        params = request.params
        version = self.version(self.bucket(request), params["Key"], params.get("VersionId"))
        wanted = params["ObjectAttributes"]
        found: dict[str, Any] = {}
        if "ETag" in wanted:
            found["ETag"] = version.etag
        if "ObjectSize" in wanted:
            found["ObjectSize"] = len(version.data)
        if "StorageClass" in wanted:
            found["StorageClass"] = "STANDARD"
        if "ObjectParts" in wanted and version.parts:
            found["ObjectParts"] = {"TotalPartsCount": len(version.parts)}
        return Response(found, {"Last-Modified": http_date(version.modified)})

    def delete_object(self, request: Request) -> Response:
        bucket = self.bucket(request)
        self.check_write(bucket, request.params["Key"], request.params)
        return Response(headers=self.remove(bucket, request.params["Key"], request.params.get("VersionId")), status=204)

    def delete_objects(self, request: Request) -> Response:
        bucket = self.bucket(request)
        wanted = request.params["Delete"]
        deleted = []
        for one in wanted["Objects"]:
            said = self.remove(bucket, one["Key"], one.get("VersionId"))
            entry = dict(one)
            if said.get("x-amz-delete-marker") and "VersionId" not in one:
                entry |= {"DeleteMarker": True, "DeleteMarkerVersionId": said["x-amz-version-id"]}
            deleted.append(entry)
        return Response({"Deleted": [] if wanted.get("Quiet") else deleted})

    def remove(self, bucket: Bucket, key: str, version_id: str | None) -> dict[str, str]:
        """Delete a version, or the key; the headers that say so."""
        versions = bucket.keys.get(key, [])
        if version_id is not None:
            versions[:] = [one for one in versions if one.id != version_id]
            return {"x-amz-version-id": version_id}
        if not bucket.versioning:
            bucket.keys.pop(key, None)
            return {}
        marker = Version(key, self.new_id(bucket), modified=self._now(), marker=True)
        bucket.add(marker)
        return {"x-amz-delete-marker": "true", "x-amz-version-id": marker.id}

    def copy_object(self, request: Request) -> Response:
        bucket = self.bucket(request)
        params = request.params
        source = self.source(params)
        replaced = params.get("MetadataDirective") == "REPLACE"
        if (
            source.key == params["Key"]
            and params["CopySource"].lstrip("/").startswith(f"{bucket.name}/")
            and not replaced
        ):
            raise S3Error("InvalidRequest", "This copy request is illegal: it copies an object to itself")
        self.check_write(bucket, params["Key"], params)
        version = replace(
            source,
            key=params["Key"],
            id=self.new_id(bucket),
            etag=md5(source.data),
            modified=self._now(),
            parts=(),
            headers=kept_headers(request.headers) if replaced else source.headers,
            tags=header_tags(params.get("Tagging")) if params.get("TaggingDirective") == "REPLACE" else source.tags,
        )
        bucket.add(version)
        return Response(
            {"CopyObjectResult": {"ETag": f'"{version.etag}"', "LastModified": moment(version.modified)}},
            {name: value for name, value in written(version).items() if name != "ETag"},
        )

    def source(self, params: Mapping[str, Any]) -> Version:
        """The version that a copy reads."""
        path, _, query = params["CopySource"].removeprefix("/").partition("?")
        name, _, key = unquote(path).partition("/")
        if name not in self.buckets:
            raise no_bucket(name)
        wanted = parse_qs(query).get("versionId", [None])[0]
        version = self.version(self.buckets[name], key, wanted)
        if (tag := params.get("CopySourceIfMatch")) is not None and not matches(tag, version.etag):
            raise failed()
        if (tag := params.get("CopySourceIfNoneMatch")) is not None and matches(tag, version.etag):
            raise failed()
        return version

    def get_object_tagging(self, request: Request) -> Response:
        version = self.version(self.bucket(request), request.params["Key"], request.params.get("VersionId"))
        return Response({"TagSet": shown_tags(version.tags)}, version_header(version))

    def put_object_tagging(self, request: Request) -> Response:
        return self.retag(request, tags_of(request.params["Tagging"]), 200)

    def delete_object_tagging(self, request: Request) -> Response:
        return self.retag(request, (), 204)

    def put_object_acl(self, request: Request) -> Response:
        """Take an ACL, which nothing here asks for again."""
        version = self.version(self.bucket(request), request.params["Key"], request.params.get("VersionId"))
        return Response({}, version_header(version))

    def retag(self, request: Request, tags: tuple[tuple[str, str], ...], status: int) -> Response:
        bucket = self.bucket(request)
        version = self.version(bucket, request.params["Key"], request.params.get("VersionId"))
        versions = bucket.keys[version.key]
        versions[versions.index(version)] = replace(version, tags=tags)
        return Response(headers=version_header(version), status=status)

    def check_write(self, bucket: Bucket, key: str, params: Mapping[str, Any]) -> None:
        """Judge the conditions of a write."""
        current = bucket.current(key)
        if (wanted := params.get("IfMatch")) is not None:
            if current is None:
                raise S3Error("NoSuchKey", "The specified key does not exist.", status=404, details={"Key": key})
            if not matches(wanted, current.etag):
                raise failed()
        if (
            (unwanted := params.get("IfNoneMatch")) is not None
            and current is not None
            and matches(unwanted, current.etag)
        ):
            raise failed()

    # Uploads in parts.

    def create_multipart_upload(self, request: Request) -> Response:
        bucket = self.bucket(request)
        key = request.params["Key"]
        number = next(self._numbers)
        upload = Upload(
            f"upload-{number:08d}",
            key,
            self._now(),
            kept_headers(request.headers),
            header_tags(request.params.get("Tagging")),
        )
        bucket.uploads[upload.id] = upload
        return Response({"Bucket": bucket.name, "Key": key, "UploadId": upload.id})

    def upload_part(self, request: Request) -> Response:
        etag = self.take_part(self.upload(request), request.params["PartNumber"], request.data, request.sums)
        return Response(headers={"ETag": f'"{etag}"', **request.sums})

    def upload_part_copy(self, request: Request) -> Response:
        upload = self.upload(request)
        source = self.source(request.params)
        data = source.data
        if (stretch := request.params.get("CopySourceRange")) is not None:
            first, _, last = stretch.removeprefix("bytes=").partition("-")
            if int(last) >= len(data):
                raise S3Error("InvalidRange", "The range of the copy source is not valid", status=416)
            data = data[int(first) : int(last) + 1]
        etag = self.take_part(upload, request.params["PartNumber"], data, {})
        return Response({"CopyPartResult": {"ETag": f'"{etag}"', "LastModified": moment(self._now())}})

    def take_part(self, upload: Upload, number: int, data: bytes, sums: Mapping[str, str]) -> str:
        if not 1 <= number <= 10_000:
            raise S3Error("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
        upload.parts[number] = Part(data, md5(data), self._now(), sums)
        return upload.parts[number].etag

    def complete_multipart_upload(self, request: Request) -> Response:
        bucket = self.bucket(request)
        params = request.params
        upload = self.upload(request)
        named = (params.get("MultipartUpload") or {}).get("Parts") or []
        numbers = [one["PartNumber"] for one in named]
        if not named:
            raise S3Error("MalformedXML", "The XML you provided was not well-formed")
        if numbers != sorted(set(numbers)):
            raise S3Error("InvalidPartOrder", "The list of parts was not in ascending order.")
        parts = [upload.parts.get(number) for number in numbers]
        if any(part is None or part.etag != one["ETag"].strip('"') for part, one in zip(parts, named, strict=True)):
            raise S3Error("InvalidPart", "One or more of the specified parts could not be found.")
        whole = [part for part in parts if part is not None]
        if any(len(part.data) < SMALLEST_PART for part in whole[:-1]):
            raise S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")
        self.check_write(bucket, upload.key, params)
        digest = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in whole), usedforsecurity=False).hexdigest()
        version = Version(
            upload.key,
            self.new_id(bucket),
            b"".join(part.data for part in whole),
            f"{digest}-{len(whole)}",
            self._now(),
            upload.headers,
            {},
            upload.tags,
            parts=tuple(len(part.data) for part in whole),
        )
        bucket.add(version)
        del bucket.uploads[upload.id]
        return Response(
            {
                "Bucket": bucket.name,
                "Key": upload.key,
                "ETag": f'"{version.etag}"',
                "Location": path_of(bucket.name, upload.key),
            },
            version_header(version),
        )

    def abort_multipart_upload(self, request: Request) -> Response:
        del self.bucket(request).uploads[self.upload(request).id]
        return Response(status=204)

    def list_parts(self, request: Request) -> Response:
        upload = self.upload(request)
        params = request.params
        most, after = params.get("MaxParts", 1000), int(params.get("PartNumberMarker") or 0)
        numbers = [number for number in sorted(upload.parts) if number > after]
        page = numbers[:most]
        parts = [
            {
                "PartNumber": number,
                "ETag": f'"{upload.parts[number].etag}"',
                "Size": len(upload.parts[number].data),
                "LastModified": moment(upload.parts[number].modified),
            }
            for number in page
        ]
        result = {
            "Bucket": params["Bucket"],
            "Key": upload.key,
            "UploadId": upload.id,
            "PartNumberMarker": str(after),
            "MaxParts": most,
            "IsTruncated": len(page) < len(numbers),
            "Parts": parts,
            "StorageClass": "STANDARD",
            "Owner": OWNER,
            "Initiator": OWNER,
        }
        if page and len(page) < len(numbers):
            result["NextPartNumberMarker"] = str(page[-1])
        return Response(result)

    def list_multipart_uploads(self, request: Request) -> Response:
        bucket = self.bucket(request)
        params = request.params
        prefix, delimiter = params.get("Prefix", ""), params.get("Delimiter", "")
        marker, id_marker = params.get("KeyMarker", ""), params.get("UploadIdMarker", "")
        most = params.get("MaxUploads", 1000)
        uploads = sorted(bucket.uploads.values(), key=lambda u: (u.key.encode(), u.initiated, u.id))
        after = [
            u
            for u in uploads
            if u.key.encode() > marker.encode() or (u.key == marker and id_marker and u.id > id_marker)
        ]
        rolled = rolled_up([(u.key, u) for u in after], prefix, delimiter, "")
        items = [(name, u) for name, u in rolled if u is not None or not marker.startswith(name)]
        page = items[:most]
        encoded = encoder(params)
        result: dict[str, Any] = {
            "Bucket": bucket.name,
            "Prefix": encoded(prefix),
            "Delimiter": encoded(delimiter) or None,
            "KeyMarker": encoded(marker),
            "UploadIdMarker": id_marker,
            "MaxUploads": most,
            "IsTruncated": len(page) < len(items),
            "EncodingType": params.get("EncodingType"),
            "Uploads": [
                {
                    "Key": encoded(u.key),
                    "UploadId": u.id,
                    "Initiated": moment(u.initiated),
                    "StorageClass": "STANDARD",
                    "Owner": OWNER,
                    "Initiator": OWNER,
                }
                for _, u in page
                if u is not None
            ],
            "CommonPrefixes": [{"Prefix": encoded(name)} for name, u in page if u is None],
        }
        if page and len(page) < len(items):
            name, last = page[-1]
            result |= {"NextKeyMarker": encoded(name), "NextUploadIdMarker": last.id if last else ""}
        return Response(result)

    # Listings.

    def listed(self, bucket: Bucket, params: Mapping[str, Any], after: str) -> list[tuple[str, Version | None]]:
        """Objects and common prefixes (None) after a name, in order."""
        names = sorted(bucket.keys, key=str.encode)
        there = [(name, bucket.current(name)) for name in names]
        shown = [(name, version) for name, version in there if version is not None]
        return rolled_up(shown, params.get("Prefix", ""), params.get("Delimiter", ""), after)

    def list_objects(self, request: Request) -> Response:
        params = request.params
        marker = params.get("Marker", "")
        items = self.listed(self.bucket(request), params, marker)
        page = items[: most_of(params)]
        result = listing(params, page, len(page) < len(items) and bool(page)) | {"Marker": encoder(params)(marker)}
        if result["IsTruncated"] and params.get("Delimiter"):
            result["NextMarker"] = encoder(params)(page[-1][0])
        return Response(result)

    def list_objects_v2(self, request: Request) -> Response:
        params = request.params
        token = params.get("ContinuationToken")
        after = params.get("StartAfter", "") if token is None else opened(token)
        items = self.listed(self.bucket(request), params, after)
        page = items[: most_of(params)]
        owner = bool(params.get("FetchOwner"))
        result = listing(params, page, len(page) < len(items) and bool(page), owner=owner) | {"KeyCount": len(page)}
        if "StartAfter" in params:
            result["StartAfter"] = encoder(params)(params["StartAfter"])
        if token is not None:
            result["ContinuationToken"] = token
        if result["IsTruncated"]:
            result["NextContinuationToken"] = sealed(page[-1][0])
        return Response(result)

    def list_object_versions(self, request: Request) -> Response:
        bucket = self.bucket(request)
        params = request.params
        encoded = encoder(params)
        versions, markers = [], []
        for key in sorted(bucket.keys, key=str.encode):
            if not key.startswith(params.get("Prefix", "")):
                continue
            for at, version in enumerate(reversed(bucket.keys[key])):
                entry = {
                    "Key": encoded(key),
                    "VersionId": version.id,
                    "IsLatest": at == 0,
                    "LastModified": moment(version.modified),
                    "Owner": OWNER,
                }
                if version.marker:
                    markers.append(entry)
                else:
                    size = len(version.data)
                    versions.append(entry | {"ETag": f'"{version.etag}"', "Size": size, "StorageClass": "STANDARD"})
        return Response(
            {
                "Name": bucket.name,
                "Prefix": encoded(params.get("Prefix", "")),
                "IsTruncated": False,
                "MaxKeys": 1000,
                "Versions": versions,
                "DeleteMarkers": markers,
                "EncodingType": params.get("EncodingType"),
            }
        )


SERVED: Mapping[str, Callable[[Fake, Request], Response]] = {
    "CreateBucket": Fake.create_bucket,
    "DeleteBucket": Fake.delete_bucket,
    "HeadBucket": Fake.head_bucket,
    "ListBuckets": Fake.list_buckets,
    "GetBucketLocation": Fake.get_bucket_location,
    "GetBucketVersioning": Fake.get_bucket_versioning,
    "PutBucketVersioning": Fake.put_bucket_versioning,
    "GetObjectLockConfiguration": Fake.get_object_lock_configuration,
    "GetBucketEncryption": Fake.get_bucket_encryption,
    "GetBucketTagging": Fake.get_bucket_tagging,
    "PutBucketTagging": Fake.put_bucket_tagging,
    "DeleteBucketTagging": Fake.delete_bucket_tagging,
    "PutObject": Fake.put_object,
    "GetObject": Fake.get_object,
    "HeadObject": Fake.get_object,
    "GetObjectAttributes": Fake.get_object_attributes,
    "DeleteObject": Fake.delete_object,
    "DeleteObjects": Fake.delete_objects,
    "CopyObject": Fake.copy_object,
    "GetObjectTagging": Fake.get_object_tagging,
    "PutObjectTagging": Fake.put_object_tagging,
    "PutObjectAcl": Fake.put_object_acl,
    "DeleteObjectTagging": Fake.delete_object_tagging,
    "CreateMultipartUpload": Fake.create_multipart_upload,
    "UploadPart": Fake.upload_part,
    "UploadPartCopy": Fake.upload_part_copy,
    "CompleteMultipartUpload": Fake.complete_multipart_upload,
    "AbortMultipartUpload": Fake.abort_multipart_upload,
    "ListParts": Fake.list_parts,
    "ListMultipartUploads": Fake.list_multipart_uploads,
    "ListObjects": Fake.list_objects,
    "ListObjectsV2": Fake.list_objects_v2,
    "ListObjectVersions": Fake.list_object_versions,
}
"""What the fake serves; anything else is 501."""


def rolled_up(items: Iterable[tuple[str, Any]], prefix: str, delimiter: str, after: str) -> list[tuple[str, Any]]:
    """Of items in order, those of a prefix after a name; what a delimiter groups is its common prefix with None."""
    found: list[tuple[str, Any]] = []
    for name, item in items:
        if not name.startswith(prefix):
            continue
        at = name.find(delimiter, len(prefix)) if delimiter else -1
        entry = (name, item) if at < 0 else (name[: at + len(delimiter)], None)
        # A page that ended in a common prefix goes on behind everything in it.
        passed = entry[0].encode() <= after.encode() or (at >= 0 and after.startswith(entry[0]))
        if not passed and (at < 0 or found[-1:] != [entry]):
            found.append(entry)
    return found


def listing(
    params: Mapping[str, Any], page: list[tuple[str, Version | None]], truncated: bool, *, owner: bool = True
) -> dict[str, Any]:
    """What both listings of objects say."""
    encoded = encoder(params)
    contents = []
    for _, version in page:
        if version is not None:
            entry = {
                "Key": encoded(version.key),
                "LastModified": moment(version.modified),
                "ETag": f'"{version.etag}"',
                "Size": len(version.data),
                "StorageClass": "STANDARD",
            }
            contents.append(entry | {"Owner": OWNER} if owner else entry)
    return {
        "Name": params["Bucket"],
        "Prefix": encoded(params.get("Prefix", "")),
        "Delimiter": encoded(params.get("Delimiter", "")) or None,
        "MaxKeys": params.get("MaxKeys", 1000),
        "IsTruncated": truncated,
        "EncodingType": params.get("EncodingType"),
        "Contents": contents,
        "CommonPrefixes": [{"Prefix": encoded(name)} for name, version in page if version is None],
    }


def most_of(params: Mapping[str, Any]) -> int:
    """How many entries a page has."""
    most: int = params.get("MaxKeys", 1000)
    if most < 0:
        raise S3Error("InvalidArgument", "Argument maxKeys must be an integer between 0 and 2147483647")
    return min(1000, most)


def encoder(params: Mapping[str, Any]) -> Callable[[str], str]:
    """How names are written in a listing."""
    if params.get("EncodingType") == "url":
        return lambda name: quote(name, safe="/-_.~*").replace("%20", "+")
    return str


def sealed(name: str) -> str:
    """A token that names where a page ended."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def opened(token: str) -> str:
    """Where a token says that the page before ended."""
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from None


def not_served(wire: Wire) -> S3Error:
    """The answer to what the fake does not know."""
    return S3Error("NotImplemented", f"the fake does not serve {wire.method} ?{wire.query}", status=501)


def no_bucket(name: str) -> S3Error:
    """The answer where there is no such bucket."""
    return S3Error("NoSuchBucket", "The specified bucket does not exist", status=404, details={"BucketName": name})


def verify(headers: AnyHeaders, data: bytes) -> None:
    """Refuse a body that is not what its headers promise."""
    if (sent := headers.get("Content-MD5")) and base64.b64decode(sent) != hashlib.md5(
        data, usedforsecurity=False
    ).digest():
        raise S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.")
    sha256 = headers.get("x-amz-content-sha256", "")
    if len(sha256) == 64 and sha256 != hashlib.sha256(data).hexdigest():
        raise S3Error("XAmzContentSHA256Mismatch", "The provided x-amz-content-sha256 does not match the content.")
    for name, value in headers.items():
        algorithm = checksums.ALGORITHMS.get(name.lower().removeprefix(checksums.PREFIX))
        if algorithm is not None and name.lower().startswith(checksums.PREFIX) and "-" not in value:
            digest = algorithm()
            digest.update(data)
            if checksums.to_base64(digest.digest()) != value:
                raise S3Error("BadDigest", f"The {name} you specified did not match what we received.")


def check_read(version: Version, params: Mapping[str, Any]) -> None:
    """Judge the conditions of a read, in the order of RFC 9110 (13.2.2)."""
    modified = moment(int(version.modified))
    if (wanted := params.get("IfMatch")) is not None:
        if not matches(wanted, version.etag):
            raise failed()
    elif (since := params.get("IfUnmodifiedSince")) is not None and modified > aware(since):
        raise failed()
    if (unwanted := params.get("IfNoneMatch")) is not None:
        if matches(unwanted, version.etag):
            raise S3Error("NotModified", status=304, headers={"ETag": f'"{version.etag}"'})
    elif (since := params.get("IfModifiedSince")) is not None and modified <= aware(since):
        raise S3Error("NotModified", status=304, headers={"ETag": f'"{version.etag}"'})


def selected(header: str, size: int) -> tuple[int, int] | None:
    """The stretch of bytes that a Range header selects; None where it is to be ignored."""
    unit, _, text = header.partition("=")
    first, dash, last = text.partition("-")
    if unit != "bytes" or not dash or "," in text or not (first or last) or not (first + last).isdigit():
        return None
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    if start >= size or start >= end:
        raise S3Error("InvalidRange", "The requested range is not satisfiable", status=416)
    return start, end


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


def described(version: Version) -> dict[str, str]:
    """The headers that describe a version."""
    headers = {"Content-Type": "binary/octet-stream", **version.headers}
    headers |= {"ETag": f'"{version.etag}"', "Last-Modified": http_date(version.modified), "Accept-Ranges": "bytes"}
    if version.tags:
        headers["x-amz-tagging-count"] = str(len(version.tags))
    return headers | version_header(version)


def written(version: Version) -> dict[str, str]:
    """The headers of the answer to a write."""
    return {"ETag": f'"{version.etag}"', **version.sums, **version_header(version)}


def version_header(version: Version) -> dict[str, str]:
    """The version's id, where it has one."""
    return {} if version.id == "null" else {"x-amz-version-id": version.id}


def unchunked(headers: AnyHeaders) -> Headers:
    """Headers of a body that was decoded on its way."""
    said: Headers = CIMultiDict(headers)
    if "aws-chunked" in said.get("Content-Encoding", ""):
        rest = [part.strip() for part in said["Content-Encoding"].split(",") if part.strip() != "aws-chunked"]
        del said["Content-Encoding"]
        if rest:
            said["Content-Encoding"] = ", ".join(rest)
    return said


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


def aware(when: datetime) -> datetime:
    """A moment in UTC where it names no zone."""
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def http_date(seconds: float) -> str:
    """A Unix time as HTTP writes it."""
    return format_datetime(moment(int(seconds)), usegmt=True)


@dataclass(slots=True)
class Journal:
    """What reached the remote, and what of it was wrong, over all lives of a gateway."""

    passed: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Operation, key, who asked (the User-Agent of a client's own request, else x-amz-meta-n) and what became of it."""
    wrong: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Keys of which a change was refused for good."""

    def fate(self, who: str) -> str:
        """What became of the last request of a client: applied, lost, late, refused; "" where none came here."""
        return next((fate for _, _, name, fate in reversed(self.passed) if name == who), "")

    def pushed_last(self, key: str) -> bool:
        """Whether the newest change of a key that the remote has was pushed, and is an object in whole or a delete."""
        done = [one for one in self.passed if one[1] == key and one[0] not in PREPARING and one[3] == "applied"]
        operation, _, name, _ = done[-1] if done else ("", "", "", "")
        return operation in (*ARRIVING, "CompleteMultipartUpload") and not name.startswith(("client-", "foreign"))


@dataclass(slots=True)
class Held:
    """A request that the remote has and has not answered."""

    call: Call
    data: bytes
    answer: asyncio.Future[str]


class Flaky:
    """An S3 behind faults, as one process sees it. `fates` says what becomes of the next calls that change something.

    applied: nothing happens to it; unanswered: applied, and the answer is lost; lost: sent, and nobody has it; late:
    sent, unanswered, and it arrives when `arrive` says so; a code and status such as `SlowDown 503`: refused by that.
    Somebody else may answer: portal, a page to sign in by; ingress, whose backend is gone; gateway, which gives up on
    what is late (a client's own request is done by then).
    """

    def __init__(self, inner: S3, health: Health, journal: Journal) -> None:
        """Take the remote and the health that the gateway looks at."""
        self._inner = inner
        self._health = health
        self._journal = journal
        self._judge = Judge(self._passed)
        self._changing: dict[tuple[str, str], int] = {}
        self._held: list[Held] = []
        self.fates: deque[str] = deque()
        self.fate_of: dict[str, str] = {}
        """By key the fate of the next change that is pushed, before all others."""
        self.late: list[tuple[Call, bytes]] = []
        self.away = False
        self.stalled = False
        self.sluggish = False
        self.dead = False

    async def __call__(self, call: Call) -> Reply:
        """Hand a call on, or do to it what is its fate."""
        return await self._judge(call)

    async def _passed(self, call: Call) -> Reply:
        if self.away or self.dead:
            if call.body is not None:
                await call.body.aclose()
            self._health.failed("connection refused")
            raise Unavailable("connection refused")
        if call.operation not in MUTATIONS:
            reply = await self._inner(call)
            for _ in range(5 if self.sluggish else 0):
                await asyncio.sleep(0.001)
            return reply
        # The body's own checks come first: what they stop has not been sent.
        data = b"" if call.body is None else await read_all(call.body, 64 << 20)
        sums = {} if call.body is None else call.body.digests
        sent = replace(call, body=None if call.body is None else SentBody(data, sums))
        place = (call.bucket, call.key)
        ordered = call.key and call.operation not in PREPARING
        if ordered and self._changing.get(place):
            self._journal.wrong.append(f"two changes of {call.key} are under way at once")
        self._changing[place] = self._changing.get(place, 0) + 1
        try:
            return await self._met(sent, data)
        finally:
            self._changing[place] -= 1

    async def _met(self, call: Call, data: bytes) -> Reply:
        digest = call.wire.headers.get("Content-MD5")
        if digest and base64.b64decode(digest).hex() != md5(data):
            self._journal.wrong.append(f"bytes of {call.key} are sent that do not match their digest")
        fate = self.fates.popleft() if self.fates else "applied"
        if call.key in self.fate_of and call.operation in PUSHED and not name_of(call).startswith("client-"):
            fate = self.fate_of.pop(call.key)
        if fate in ("late", "gateway") and call.operation not in ARRIVING:
            fate = "lost" if fate == "late" else "portal"
        if self.stalled:
            held = Held(call, data, asyncio.get_running_loop().create_future())
            self._held.append(held)
            try:
                fate = await held.answer or fate
            except asyncio.CancelledError:
                self._note(call, "lost")
                raise
            finally:
                self._held.remove(held)
        match fate:
            case "applied":
                reply = await self._inner(call)
                self._note(call, "applied" if reply.status < 300 else "refused")
                return reply
            case "unanswered":
                reply = await self._inner(call)
                self._note(call, "applied" if reply.status < 300 else "refused")
            case "lost":
                self._note(call, "lost")
            case "late":
                self._note(call, "late")
                self.late.append((call, data))
            case "gateway" if name_of(call).startswith("client-"):
                reply = await self._inner(call)
                self._note(call, "applied" if reply.status < 300 else "refused")
                return page(504)
            case "gateway":
                self._note(call, "late")
                self.late.append((call, data))
                return page(504)
            case "portal" | "ingress":
                self._note(call, "lost")
                return page(200 if fate == "portal" else 404)
            case _:
                code, _, status = fate.partition(" ")
                self._note(call, "refused")
                error = S3Error(code, "as the test wants it", status=int(status))
                if fate == REFUSED:
                    self._journal.refused.add(call.key)
                document = encode.error(error)
                return Reply(error.status, CIMultiDict({"Content-Type": "application/xml"}), body=BytesBody(document))
        raise Unavailable("the connection was lost", sent=True)

    def _note(self, call: Call, fate: str) -> None:
        self._journal.passed.append((call.operation, call.key, name_of(call), fate))

    @property
    def holds(self) -> list[str]:
        """Keys of what the remote has and has not answered."""
        return [held.call.key for held in self._held]

    def leave(self) -> None:
        """Go away: what is under way is lost, the next call finds out."""
        self.away = True
        self.release("lost")

    def come_back(self) -> None:
        """Be there again."""
        self.away = False
        self._health.answered()

    def release(self, fate: str = "") -> None:
        """Answer what is held, with another fate where one is given, and hold nothing any more."""
        self.stalled = False
        for held in self._held:
            if not held.answer.done():
                held.answer.set_result(fate)

    async def die(self, *, arrives: bool) -> None:
        """The gateway's process is gone. What the remote has of it arrives, or is lost with the sockets."""
        self.dead = True
        for held in list(self._held) if arrives else ():
            with contextlib.suppress(S3Error):
                await self._inner(held.call)
                self._note(held.call, "applied")

    async def arrive(self, at: int) -> str:
        """Let a late request arrive; its key."""
        call, _ = self.late.pop(at)
        with contextlib.suppress(S3Error):
            await self._inner(call)
        return call.key


@dataclass(frozen=True, slots=True)
class SentBody(Body):
    """Bytes that have been sent, with the digests that came in their trailer."""

    data: bytes
    digests: Mapping[str, str]
    replayable: bool = True

    @property
    def length(self) -> int:
        """Length in bytes."""
        return len(self.data)

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the range at once."""
        if self.data[start:end]:
            yield self.data[start:end]


def page(status: int) -> Reply:
    """The answer of somebody who is not the store."""
    return Reply(status, CIMultiDict({"Content-Type": "text/html"}), body=BytesBody(b"<html>Sign in</html>"))


def name_of(call: Call) -> str:
    """Who asked: the client that the wire names, else the number that the object carries."""
    headers = call.wire.headers
    return headers.get("User-Agent") or headers.get("x-amz-meta-n") or ""
