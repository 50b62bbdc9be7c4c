"""What GET and HEAD say of an object does not change when the object arrives at the remote, but for a listed few."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from e2e.compat.clients import Boto3, pending, wait_until_drained
from tests.daemons import StartDaemon
from tests.relays import Relay
from tests.remotes import Remote

BODY = b"0123456789" * 100
NEVER = datetime.min.replace(tzinfo=UTC)
ETAG = f'"{hashlib.md5(BODY).hexdigest()}"'
PUTS: dict[str, dict[str, Any]] = {
    "bare": {},
    "empty": {"Body": b""},
    "described": {
        "CacheControl": "no-cache",
        "ContentDisposition": 'attachment; filename="a b"',
        "ContentEncoding": "zstd",
        "ContentLanguage": "de, en",
        "ContentType": "text/plain; charset=utf-8",
        "Expires": datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC),
        "Metadata": {"plain": "a", "with-dash": "b  c", "empty": ""},
    },
    "page.html": {},
    "untyped.txt": {"ContentType": "", "CacheControl": ""},
    "private": {"ACL": "private", "StorageClass": "STANDARD"},
    "md5": {"ContentMD5": base64.b64encode(hashlib.md5(BODY).digest()).decode()},
    "sha256": {"ChecksumAlgorithm": "SHA256"},
    "crc32c": {"ChecksumAlgorithm": "CRC32C"},
}
READS: dict[str, tuple[str, dict[str, Any]]] = {
    "head": ("head_object", {}),
    "head with checksums": ("head_object", {"ChecksumMode": "ENABLED"}),
    "head of a range": ("head_object", {"Range": "bytes=1-2"}),
    "get": ("get_object", {}),
    "range": ("get_object", {"Range": "bytes=10-19"}),
    "open range": ("get_object", {"Range": "bytes=990-"}),
    "suffix": ("get_object", {"Range": "bytes=-5"}),
    "range beyond the end": ("get_object", {"Range": "bytes=5000-"}),
    "match": ("get_object", {"IfMatch": ETAG}),
    "no match": ("get_object", {"IfMatch": '"other"'}),
    "not modified": ("get_object", {"IfNoneMatch": ETAG}),
    "overrides": ("get_object", {"ResponseContentType": "x/y", "ResponseCacheControl": "max-age=1"}),
}

MAY_DIFFER = {
    "date": "the moment of the answer",
    "last-modified": "moves once, forward; compared on its own",
    "server": "who answered",
    "connection": "hop by hop",
    "x-amz-request-id": "one for each request",
    "x-amz-id-2": "one for each request",
}
"""Headers that may not be the same before and after the drain, on any remote."""
OWN = {
    "moto": {
        "access-control-allow-origin": "moto serves browsers from any site",
        "content-md5": "moto shows the put's request header",
        "x-amz-content-sha256": "moto shows the put's request header",
        "x-amz-sdk-checksum-algorithm": "moto shows the put's request header",
        "x-amz-checksum-type": "S3 says it beside a checksum, moto does not",
        "x-amzn-requestid": "one for each request",
    },
    "versitygw": {"x-amz-storage-class": "S3 says it of other classes than STANDARD only"},
    "minio": {
        "strict-transport-security": "for browsers",
        "vary": "for browsers",
        "x-content-type-options": "for browsers",
        "x-ratelimit-limit": "MinIO's own load",
        "x-ratelimit-remaining": "MinIO's own load",
        "x-xss-protection": "for browsers",
    },
}
"""Headers that a remote has, or lacks, unlike S3; the answer before the drain is S3's."""
WRONG = {("minio", "empty", "suffix"): "206 with `Content-Range: bytes 0--1/0`, where S3 answers 200"}
"""Answers of a remote that are not worth being equal to."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer to a read: of an error the status and code, of a success the headers too."""

    status: int
    code: str
    headers: dict[str, str]
    modified: datetime = NEVER


def ask(s3: Any, bucket: str, key: str, read: str, remote: str) -> Said:
    """Read an object one way, leaving out the headers that may differ."""
    verb, params = READS[read]
    try:
        answer = getattr(s3, verb)(Bucket=bucket, Key=key, **params)
    except ClientError as error:
        return Said(error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"], {})
    headers = dict(answer["ResponseMetadata"]["HTTPHeaders"])
    modified = parsedate_to_datetime(headers["last-modified"])
    shown = {name: value for name, value in headers.items() if name not in MAY_DIFFER and name not in OWN[remote]}
    return Said(answer["ResponseMetadata"]["HTTPStatusCode"], "", shown, modified)


@pytest.mark.remote
@pytest.mark.semantics("Q-4", "Q-4b", "Q-6", "R-1")
def test_reads_say_the_same_before_and_after_the_drain(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    relayed.set(mode="refuse")
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, S3D_AWAY_AFTER="1s")
    s3 = Boto3(daemon.endpoint, "Dummy", "Dummy", bucket).s3
    for key, put in {**PUTS, "deleted": {}}.items():
        s3.put_object(Bucket=bucket, Key=key, **{"Body": BODY, **put})
    s3.delete_object(Bucket=bucket, Key="deleted")
    reads = [(key, read) for key in (*PUTS, "deleted") for read in READS if (remote.name, key, read) not in WRONG]

    before = {(key, read): ask(s3, bucket, key, read, remote.name) for key, read in reads}
    assert pending(daemon) == len(PUTS) + 1
    relayed.set(mode="pass")
    wait_until_drained(daemon)
    after = {(key, read): ask(s3, bucket, key, read, remote.name) for key, read in reads}

    assert {at: (said.status, said.code, said.headers) for at, said in before.items()} == {
        at: (said.status, said.code, said.headers) for at, said in after.items()
    }
    assert [at for at, said in before.items() if said.modified > after[at].modified] == []
    # What is compared has to be there.
    described = before["described", "get"].headers
    assert {described["x-amz-meta-with-dash"], described["expires"], described["etag"]} == {
        "b  c",
        "Thu, 02 Jan 2031 03:04:05 GMT",
        ETAG,
    }
