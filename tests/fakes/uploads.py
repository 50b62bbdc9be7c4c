"""Uploads in parts."""

import hashlib
from collections.abc import Mapping
from typing import Any

from s3d.errors import S3Error
from tests.fakes.contents import (
    OWNER,
    Part,
    Request,
    Response,
    Upload,
    Version,
    header_tags,
    kept_headers,
    md5,
    moment,
    path_of,
    version_header,
)
from tests.fakes.listings import encoder, rolled_up
from tests.fakes.objects import Objects

SMALLEST_PART = 5 << 20


class Uploads(Objects):
    """What is asked of an upload."""

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
