"""Operations on objects."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

from s3d.api import Body, BytesBody
from s3d.errors import S3Error
from tests.fakes.contents import (
    Bucket,
    Contents,
    Request,
    Response,
    Version,
    failed,
    header_tags,
    http_date,
    kept_headers,
    matches,
    md5,
    moment,
    no_bucket,
    shown_tags,
    tags_of,
    version_header,
)

OVERRIDES = {
    "ResponseContentType": "Content-Type",
    "ResponseContentEncoding": "Content-Encoding",
    "ResponseContentDisposition": "Content-Disposition",
    "ResponseContentLanguage": "Content-Language",
    "ResponseCacheControl": "Cache-Control",
}


@dataclass(frozen=True, slots=True)
class NoBytes(Body):
    """The body of an answer to HEAD: it has a length."""

    length: int
    replayable: bool = True

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield nothing."""
        return
        yield b""


class Objects(Contents):
    """What is asked of an object."""

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
        self.check_write(bucket, params["Key"], params)
        if (
            source.key == params["Key"]
            and params["CopySource"].lstrip("/").startswith(f"{bucket.name}/")
            and not replaced
        ):
            raise S3Error("InvalidRequest", "This copy request is illegal: it copies an object to itself")
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


def aware(when: datetime) -> datetime:
    """A moment in UTC where it names no zone."""
    return when if when.tzinfo else when.replace(tzinfo=UTC)
