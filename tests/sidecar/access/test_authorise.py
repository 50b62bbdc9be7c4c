"""What a key may do."""

import pytest
from multidict import CIMultiDict

from s3d.access.authorise import READS, authorise
from s3d.access.keys import AccessKey
from s3d.api import Wire
from s3d.errors import S3Error
from s3d.protocol.classes import CLASSES

READER = AccessKey("reader", ("s",), read_only=True)
OURS = AccessKey("ours", ("s",), buckets=("ours", "logs"))


def may(key: AccessKey, operation: str, bucket: str, query: str = "", **headers: str) -> bool:
    sent = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    try:
        authorise(key, operation, bucket, Wire("PUT", f"/{bucket}/k", query, sent))
    except S3Error as error:
        return (error.code, error.status) != ("AccessDenied", 403)
    return True


@pytest.mark.parametrize("operation", sorted(CLASSES))
def test_a_key_without_limits_may_do_everything(operation: str) -> None:
    assert may(AccessKey("all", ("s",)), operation, "b", x_amz_copy_source="other/k")


@pytest.mark.parametrize(
    "operation", "GetObject HeadObject ListBuckets ListObjectsV2 HeadBucket GetBucketAcl SelectObjectContent".split()
)
def test_a_reader_may_read(operation: str) -> None:
    assert may(READER, operation, "b")


@pytest.mark.parametrize(
    "operation",
    [
        "",
        "CreateSession",
        *(name for name in CLASSES if name.startswith(("Put", "Delete", "Create", "Upload", "Copy", "Complete"))),
        *"AbortMultipartUpload RestoreObject RenameObject UpdateObjectEncryption WriteGetObjectResponse".split(),
    ],
)
def test_a_reader_may_change_nothing_and_do_nothing_unknown(operation: str) -> None:
    assert operation not in READS
    assert not may(READER, operation, "b")


def test_a_key_of_some_buckets_may_use_these() -> None:
    assert may(OURS, "PutObject", "ours")
    assert may(OURS, "", "logs")
    assert not may(OURS, "PutObject", "theirs")
    assert not may(OURS, "", "theirs")
    assert not may(OURS, "GetObject", "Ours")


def test_a_key_of_some_buckets_may_not_list_all() -> None:
    assert not may(OURS, "ListBuckets", "")


@pytest.mark.parametrize("operation", ["CopyObject", "UploadPartCopy", "PutObject", ""])
@pytest.mark.parametrize("source", ["theirs/k", "/theirs/k", "theirs%2Fk", "%2Ftheirs%2Fours/k", "ours%2F%2E/../k"])
def test_a_copy_reads_its_source_whatever_the_operation_is(operation: str, source: str) -> None:
    allowed = source.startswith("ours")
    assert may(OURS, operation, "ours", x_amz_copy_source=source) is allowed
    assert may(OURS, operation, "ours", f"X-Amz-Copy-Source={source.replace('%', '%25')}") is allowed
    assert may(OURS, operation, "ours", "X-Amz-Copy-Source=theirs/k", x_amz_copy_source="ours/k") is False


def test_nobody_may_do_what_no_bucket_is_listed_for() -> None:
    assert not may(AccessKey("none", ("s",), buckets=()), "GetObject", "b")
