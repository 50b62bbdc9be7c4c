"""An S3 in memory.

`Fake` stands where `layers/remote.py` stands: it takes calls with a wire and calls without one, and answers both
through the protocol's own encoding. What it does is held to what real servers do by the contract of a remote
(tests/contracts/).
"""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from multidict import CIMultiDict

from s3d.api import AnyHeaders, BytesBody, Call, Headers, Reply, Wire
from s3d.errors import S3Error
from s3d.layers.judge import Judge
from s3d.protocol import checksums, decode, encode
from tests.fakes.buckets import Buckets
from tests.fakes.contents import Request, Response, path_of
from tests.fakes.listings import Listings
from tests.fakes.uploads import Uploads


class Fake(Buckets, Uploads, Listings):
    """An S3 in memory."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """Take the clock."""
        super().__init__(now)
        self._judge = Judge(self._answered)

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


def not_served(wire: Wire) -> S3Error:
    """The answer to what the fake does not know."""
    return S3Error("NotImplemented", f"the fake does not serve {wire.method} ?{wire.query}", status=501)


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


def unchunked(headers: AnyHeaders) -> Headers:
    """Headers of a body that was decoded on its way."""
    said: Headers = CIMultiDict(headers)
    if "aws-chunked" in said.get("Content-Encoding", ""):
        rest = [part.strip() for part in said["Content-Encoding"].split(",") if part.strip() != "aws-chunked"]
        del said["Content-Encoding"]
        if rest:
            said["Content-Encoding"] = ", ".join(rest)
    return said
