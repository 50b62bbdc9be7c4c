"""An upload from outside, and what there is of it on the disk and at the remote."""

import hashlib
from typing import Any

import pytest

from tests.daemons import Daemon, StartDaemon
from tests.relays import Relay, Relayed
from tests.remotes import Remote

MIB = 1 << 20
LEAST = 5 * MIB
AWAY = {"S3D_AWAY_AFTER": "1s"}


class Uploading:
    """A client's upload of one key."""

    def __init__(self, s3: Any, bucket: str, key: str, **params: Any) -> None:
        self.s3 = s3
        self.name = {"Bucket": bucket, "Key": key}
        self.id = s3.create_multipart_upload(**self.name, **params)["UploadId"]
        self.sent: dict[int, tuple[bytes, dict[str, Any]]] = {}

    def part(self, number: int, data: bytes, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.s3.upload_part(
            **self.name, UploadId=self.id, PartNumber=number, Body=data, **params
        )
        self.sent[number] = data, {n: v for n, v in answer.items() if n == "ETag" or n.startswith("Checksum")}
        return answer

    def parts(self) -> list[dict[str, Any]]:
        return [{"PartNumber": number, **named} for number, (_, named) in sorted(self.sent.items())]

    def complete(self, **params: Any) -> dict[str, Any]:
        params.setdefault("MultipartUpload", {"Parts": self.parts()})
        answer: dict[str, Any] = self.s3.complete_multipart_upload(**self.name, UploadId=self.id, **params)
        return answer

    @property
    def data(self) -> bytes:
        return b"".join(data for _, (data, _) in sorted(self.sent.items()))

    @property
    def etag(self) -> str:
        digests = b"".join(hashlib.md5(data).digest() for _, (data, _) in sorted(self.sent.items()))
        return f'"{hashlib.md5(digests).hexdigest()}-{len(self.sent)}"'


def uploads_of(remote: Remote, bucket: str, key: str) -> list[str]:
    """The uploads that a remote holds of a key; MinIO lists them by the exact key only."""
    listed = remote.client().list_multipart_uploads(Bucket=bucket, Prefix=key)
    return [one["UploadId"] for one in listed.get("Uploads", [])]


def bodies_of(daemon: Daemon) -> list[str]:
    """The body files on the local dir."""
    return [path.name for path in (daemon.local_dir / "queue" / "bodies").iterdir() if path.name != "quarantine"]


@pytest.fixture
def away(remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon) -> tuple[Daemon, Relayed]:
    """A daemon whose remote is behind a relay that refuses connections."""
    relayed = relay(remote)
    relayed.set(mode="refuse")
    return start_daemon(relayed.remote, S3D_BUCKETS=bucket, **AWAY), relayed
