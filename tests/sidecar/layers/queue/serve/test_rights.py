"""What an identity may do is learnt from its writes (SEMANTICS R-6b, Q-14): not to be allowed to look forbids none."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients import code_of, raw
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.fakes.contents import Bucket
from tests.processes import free_port
from tests.sidecar.layers.queue.push.odd_answers import XML, s3_error
from tests.sidecar.layers.test_answers_early import as_remote
from tests.stores import Odd, Store

DENIED = s3_error(403, "AccessDenied")
LOOKS = (
    "HeadBucket GetBucketVersioning GetObjectLockConfiguration GetBucketEncryption GetBucketTagging GetBucketLocation "
    "HeadObject GetObject ListObjects ListObjectsV2"
).split()


@pytest.fixture
def store() -> Iterator[Store]:
    """A store whose identity may write and not look, as that of a device that sends what it measures."""
    store = Store()
    store.port = free_port()
    store.fake.buckets["b"] = Bucket("b", 0.0)
    with store.serving():
        for operation in LOOKS:
            store.hook(DENIED, operation)
        yield store


def upload(s3: Any, key: str) -> None:
    """A multipart upload of one part."""
    upload = {"Bucket": "b", "Key": key}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})


@pytest.mark.semantics("R-6b", "Q-14")
@pytest.mark.parametrize("named", ["b", ""], ids=["a bucket of the settings", "any bucket"])
def test_an_identity_that_may_only_write_writes(store: Store, start_daemon: StartDaemon, named: str) -> None:
    daemon = start_daemon(as_remote(store), S3D_BUCKETS=named)
    s3 = daemon.client()
    status, headers, document = raw(daemon, "PUT", "/b/first", b"1")
    assert (status, headers.get("x-s3d-durability")) == (200, "remote"), document
    # The first has taught that such writes are allowed: the others are queued, also after a restart.
    assert raw(daemon, "PUT", "/b/second", b"2")[1]["x-s3d-durability"] == "local"
    upload(s3, "large")
    s3.delete_object(Bucket="b", Key="first")
    eventually(lambda: drained(daemon))
    daemon.kill()
    daemon.start()
    assert raw(daemon, "PUT", "/b/third", b"3")[1]["x-s3d-durability"] == "local"
    eventually(lambda: drained(daemon))
    assert [store.data("b", key) for key in ("first", "second", "third", "large")] == [None, b"2", b"3", b"part"]


@pytest.mark.semantics("R-6b", "Q-14")
@pytest.mark.parametrize("named", ["b", ""], ids=["a bucket of the settings", "any bucket"])
def test_a_write_that_is_refused_itself_is_refused_to_its_client(
    store: Store, start_daemon: StartDaemon, named: str
) -> None:
    daemon = start_daemon(as_remote(store), S3D_BUCKETS=named)
    refused = store.hook(Odd(403, XML, DENIED.body), "PutObject")
    for _ in range(3):
        assert code_of(daemon.client().put_object, Bucket="b", Key="k", Body=b"x") == "AccessDenied"
    assert pending_of(daemon) == 0
    store.hooks[""].remove(refused)
    assert raw(daemon, "PUT", "/b/k", b"x")[0] == 200


def pending_of(daemon: Daemon) -> int:
    """How many changes are pending."""
    return int(daemon.status()["pending"]["changes"])
