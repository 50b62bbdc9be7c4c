"""What a rule keeps back does not leave, also where it cannot be queued: kinds of writes, and why they go through."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.clients import code_of, data_of, raw
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.refusals import Refuse, Refusing
from tests.remotes import Remote
from tests.sidecar.layers.queue.remote_facts.test_hold_tags import FREE, HELD

pytestmark = [pytest.mark.semantics("Q-11a"), pytest.mark.parametrize("remote", ["moto"], indirect=True)]

MIB = 1 << 20
LEAST = 5 * MIB
CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
SETTINGS = {"S3D_WRITE_QUEUE_MAX_SIZE": str(24 * MIB)}


@dataclass(slots=True)
class Stage:
    """A daemon, and a proxy before its remote that notes what is sent."""

    daemon: Daemon
    proxy: Refusing
    remote: Any
    bucket: str

    def named(self, key: str = "k") -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": key}

    def code(self, operation: str, **params: Any) -> str:
        """The error code of a call of a stock client; "" where it succeeds."""
        return code_of(getattr(self.daemon.client(), operation), **{"Bucket": self.bucket, **params})

    def raw(self, method: str, what: str, body: bytes | None = b"x", **headers: str) -> str:
        """The same of a request by hand."""
        status, given, document = raw(self.daemon, method, f"/{self.bucket}{what}", body, **headers)
        if status < 300:
            return ""
        assert "retry-after" not in given
        assert b"s3d.upload=false of the" in document
        return document.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()

    def sent(self) -> list[str]:
        """The writes that the remote has seen."""
        return [one for one in self.proxy.seen() if not one.startswith(("GET", "HEAD"))]

    def elsewhere(self) -> "Stage":
        """The same with a bucket that the daemon has never seen."""
        bucket = f"test-{secrets.token_hex(6)}"
        self.remote.create_bucket(Bucket=bucket)
        self.remote.put_object(Bucket=bucket, Key="there", Body=b"older")
        return replace(self, bucket=bucket)

    def tag(self, tags: list[dict[str, str]]) -> None:
        self.daemon.client().put_bucket_tagging(Bucket=self.bucket, Tagging={"TagSet": tags})


@pytest.fixture
def stage(remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon) -> Stage:
    """One that has never seen the bucket; there is an object, and an open upload of the remote's own."""
    proxy = refusing(remote)
    remote.client().put_object(Bucket=bucket, Key="there", Body=b"older")
    return Stage(start_daemon(proxy.remote, **SETTINGS), proxy, remote.client(), bucket)


def of_the_remote(stage: Stage) -> dict[str, str]:
    upload = stage.remote.create_multipart_upload(**stage.named())
    return {**stage.named(), "UploadId": upload["UploadId"]}


def complete_of_the_remote(stage: Stage) -> str:
    upload = of_the_remote(stage)
    etag = stage.remote.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    return stage.code("complete_multipart_upload", **upload, MultipartUpload=parts)


def form(stage: Stage, size: int = 1, **fields: str) -> str:
    lines = [f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items()]
    lines.append('--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + "x" * size + "\r\n--b--")
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return stage.raw("POST", "", "".join(lines).encode(), **headers)


SSE_C = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
    "x-amz-server-side-encryption-customer-key-MD5": "N1h1cC4MbBJmBNQJ3OXeyA==",
}
WRITES: dict[str, Callable[[Stage], str]] = {
    "put, if-match": lambda s: s.code("put_object", Key="there", Body=b"x", IfMatch='"0"'),
    "put, if-none-match": lambda s: s.code("put_object", Key="k", Body=b"x", IfNoneMatch="*"),
    "put, unknown header": lambda s: s.raw("PUT", "/k", x_amz_unheard="of"),
    "put, unknown query": lambda s: s.raw("PUT", "/k?unheard=of"),
    "put, unknown subresource": lambda s: s.raw("PUT", "/k?unheard"),
    "put, version": lambda s: s.raw("PUT", "/k?versionId=1"),
    "put, larger than the queue": lambda s: s.code("put_object", Key="k", Body=bytes(25 * MIB)),
    "put, the client's key": lambda s: s.code("put_object", Key="k", Body=b"x", **CUSTOMER),
    "put, a key of KMS": lambda s: s.code("put_object", Key="k", Body=b"x", ServerSideEncryption="aws:kms"),
    "put, archive": lambda s: s.code("put_object", Key="k", Body=b"x", StorageClass="GLACIER"),
    "put, legal hold": lambda s: s.code("put_object", Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON"),
    "append": lambda s: s.raw("PUT", "/there", x_amz_write_offset_bytes="5"),
    "form, the client's key": lambda s: form(s, 1, key="k", **SSE_C),
    "form, larger than the queue": lambda s: form(s, 25 * MIB, key="k"),
    "copy of what the remote has": lambda s: s.code("copy_object", Key="k", CopySource=s.named("there")),
    "copy, a condition": lambda s: s.code("copy_object", Key="k", CopySource=s.named("there"), IfNoneMatch="*"),
    "copy, other tags": lambda s: s.code(
        "copy_object", Key="k", CopySource=s.named("there"), TaggingDirective="REPLACE", Tagging="a=b"
    ),
    "rename": lambda s: s.raw("PUT", "/k?renameObject", x_amz_rename_source=f"/{s.bucket}/there"),
    "delete, if-match": lambda s: s.code("delete_object", Key="there", IfMatch='"0"'),
    "delete, version": lambda s: s.code("delete_object", Key="there", VersionId="null"),
    "create, a key of KMS": lambda s: s.code("create_multipart_upload", Key="k", ServerSideEncryption="aws:kms"),
    "create, unknown header": lambda s: s.raw("POST", "/k?uploads", b"", x_amz_unheard="of"),
    "part of the remote's upload": lambda s: s.code("upload_part", **of_the_remote(s), PartNumber=1, Body=b"x"),
    "part of the remote's upload, copied": lambda s: s.code(
        "upload_part_copy", **of_the_remote(s), PartNumber=1, CopySource=s.named("there")
    ),
    "complete of the remote's upload": complete_of_the_remote,
}


def test_a_write_that_goes_through_into_a_held_bucket_is_refused_and_not_sent(stage: Stage) -> None:
    """Also as the first thing that is ever asked of the bucket."""
    for name, write in WRITES.items():
        held = stage.elsewhere()
        held.remote.put_bucket_tagging(Bucket=held.bucket, Tagging={"TagSet": HELD})
        assert write(held) == "AccessDenied", name
        assert held.sent() == [], name
        assert drained(held.daemon), name


@pytest.mark.parametrize("versioned", [True, False])
def test_of_a_bulk_delete_each_key_that_cannot_be_queued_is_refused(stage: Stage, versioned: bool) -> None:
    if versioned:
        stage.remote.put_bucket_versioning(Bucket=stage.bucket, VersioningConfiguration={"Status": "Enabled"})
    stage.remote.put_bucket_tagging(Bucket=stage.bucket, Tagging={"TagSet": HELD})
    objects = [{"Key": "there", "VersionId": "null"}, {"Key": "plain"}]
    answer = stage.daemon.client().delete_objects(Bucket=stage.bucket, Delete={"Objects": objects})
    refused = ["there", "plain"] if versioned else ["there"]
    assert [(o["Key"], o["Code"]) for o in answer["Errors"]] == [(key, "AccessDenied") for key in refused]
    assert "s3d.upload=false of the bucket" in answer["Errors"][0]["Message"]
    assert [o["Key"] for o in answer.get("Deleted", [])] == ([] if versioned else ["plain"])
    assert stage.sent() == []


def test_a_versioned_bucket_that_is_held_gets_nothing(stage: Stage) -> None:
    for method, what, body in ("PUT", "/k", b"x"), ("DELETE", "/there", None), ("POST", "/k?uploads", b""):
        held = stage.elsewhere()
        held.remote.put_bucket_versioning(Bucket=held.bucket, VersioningConfiguration={"Status": "Enabled"})
        held.remote.put_bucket_tagging(Bucket=held.bucket, Tagging={"TagSet": HELD})
        assert held.raw(method, what, body) == "AccessDenied", method
        assert held.sent() == [], method


ENCODED = [
    "s3d.upload=false",
    "a=b&s3d.upload=false&c",
    "s3d%2Eupload=false",
    "s3d%2eupload=f%61lse",
    "%73%33%64%2E%75%70%6C%6F%61%64=%66%61%6C%73%65",
]


def test_the_tag_of_the_object_itself_holds_it_in_every_encoding(stage: Stage) -> None:
    for number, tagging in enumerate(ENCODED, 1):
        held = stage.elsewhere()
        for what in ("/k?unheard=of", "/k?versionId=1"):
            assert held.raw("PUT", what, x_amz_tagging=tagging) == "AccessDenied", tagging
        assert held.raw("PUT", "/k", x_amz_tagging=tagging, If_None_Match="*") == "AccessDenied", tagging
        assert held.raw("POST", "/k?uploads", b"", x_amz_tagging=tagging, x_amz_unheard="of") == "AccessDenied", tagging
        copied = {"x-amz-copy-source": f"{held.bucket}/there", "x-amz-tagging-directive": "REPLACE"}
        assert held.raw("PUT", "/k", b"", x_amz_tagging=tagging, **copied) == "AccessDenied", tagging
        assert held.sent() == [], tagging
        # Of the same tags in what can be queued.
        assert held.raw("PUT", "/k", x_amz_tagging=tagging) == ""
        assert held.daemon.status()["states"]["held"] == number, tagging
        assert held.sent() == [], tagging


@pytest.mark.semantics("Q-11b")
def test_a_copy_has_the_tags_of_a_source_that_is_pending(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    s3 = daemon.client()
    stage = Stage(daemon, proxy, remote.client(), bucket)
    s3.put_object(Bucket=bucket, Key="held", Body=b"x", Tagging="s3d.upload=false")
    source = stage.named("held")
    assert stage.code("copy_object", Key="k", CopySource=source, IfNoneMatch="*") == "AccessDenied"
    assert stage.sent() == []
    stage.tag(HELD)
    for _ in range(2):  # the first of its profile does not stay pending
        s3.put_object(Bucket=bucket, Key="free", Body=b"x", Tagging="s3d.upload=true")
    assert stage.code("copy_object", Key="k", CopySource=stage.named("free"), IfNoneMatch="*") == ""
    copied = {"CopySource": stage.named("free"), "TaggingDirective": "REPLACE", "Tagging": "a=b"}
    assert stage.code("copy_object", Key="k2", **copied, IfNoneMatch="*") == "AccessDenied"
    assert [one for one in stage.sent() if one.startswith(f"PUT /{bucket}/k2")] == []


def test_a_tag_that_lets_it_leave_is_stronger_than_that_of_its_bucket(stage: Stage) -> None:
    stage.remote.put_bucket_tagging(Bucket=stage.bucket, Tagging={"TagSet": HELD})
    assert stage.code("put_object", Key="k", Body=b"x", IfNoneMatch="*", Tagging="s3d.upload=true") == ""
    upload = {**stage.named("parts")}
    created = stage.daemon.client().create_multipart_upload(**upload, Tagging="s3d.upload=true", StorageClass="GLACIER")
    upload["UploadId"] = created["UploadId"]
    etag = stage.daemon.client().upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
    done = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    assert stage.code("complete_multipart_upload", **upload, MultipartUpload=done) == ""
    there = stage.remote.list_objects_v2(Bucket=stage.bucket)["Contents"]
    assert [o["Key"] for o in there] == ["k", "parts", "there"]


def test_what_is_no_content_goes_through_as_it_does(stage: Stage) -> None:
    stage.remote.put_bucket_tagging(Bucket=stage.bucket, Tagging={"TagSet": HELD})
    assert stage.code("put_object_tagging", Key="there", Tagging={"TagSet": HELD}) == ""
    assert stage.code("put_object_acl", Key="there", ACL="private") == ""
    assert stage.code("delete_object_tagging", Key="there") == ""
    assert stage.code("get_object", Key="there") == ""
    assert len(stage.sent()) == 3


@pytest.fixture
def staging(remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon) -> Stage:
    """One that stages uploads to its bucket."""
    proxy = refusing(remote)
    return Stage(start_daemon(proxy.remote, S3D_BUCKETS=bucket, **SETTINGS), proxy, remote.client(), bucket)


def test_an_upload_whose_bucket_is_tagged_meanwhile_does_not_spill(staging: Stage) -> None:
    """Neither for its size, nor for a Complete that the remote must judge; it does once the tag is gone."""
    stage = staging
    s3 = stage.daemon.client()
    upload = {**stage.named(), "UploadId": s3.create_multipart_upload(**stage.named())["UploadId"]}
    stage.tag(HELD)
    before = stage.sent()
    listed = []
    for number in (1, 2, 3):
        etag = s3.upload_part(**upload, PartNumber=number, Body=data_of(LEAST, number))["ETag"]
        listed.append({"PartNumber": number, "ETag": etag})
    done = {"MultipartUpload": {"Parts": listed}}
    assert stage.code("upload_part", **upload, PartNumber=4, Body=bytes(25 * MIB)) == "AccessDenied"
    assert stage.code("complete_multipart_upload", **upload, **done, IfNoneMatch="*") == "AccessDenied"
    assert stage.sent() == before
    assert len(s3.list_parts(**upload)["Parts"]) == 3
    stage.tag(FREE)
    assert stage.code("complete_multipart_upload", **upload, **done, IfNoneMatch="*") == ""
    assert stage.remote.get_object(**stage.named())["ContentLength"] == 3 * LEAST


def test_an_upload_that_spills_already_stops_where_its_bucket_is_tagged(staging: Stage) -> None:
    stage = staging
    s3 = stage.daemon.client()
    upload = {**stage.named(), "UploadId": s3.create_multipart_upload(**stage.named())["UploadId"]}
    for number in (1, 2, 3):
        s3.upload_part(**upload, PartNumber=number, Body=data_of(LEAST, number))
    eventually(lambda: len([one for one in stage.sent() if "partNumber" in one]) >= 3)
    stage.tag(HELD)
    before = stage.sent()
    assert stage.code("upload_part", **upload, PartNumber=4, Body=b"x") == "AccessDenied"
    assert stage.sent() == before
