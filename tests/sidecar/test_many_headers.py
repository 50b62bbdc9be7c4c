"""Objects with many headers: S3 bounds their bytes, and not their number."""

import http.client

import pytest

from tests.clients import raw
from tests.daemons import StartDaemon, drained, eventually
from tests.fakes.contents import Bucket, Version, md5
from tests.processes import free_port
from tests.remotes import Remote
from tests.sidecar.layers.test_answers_early import as_remote
from tests.stores import Store


@pytest.fixture(autouse=True)
def many_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own client takes no more than 100 headers of an answer by itself."""
    monkeypatch.setattr(http.client, "_MAXHEADERS", 2000)


def metadata(number: int) -> dict[str, str]:
    """So many headers, each as short as can be."""
    return {f"x-amz-meta-{index:x}": "v" for index in range(number)}


def shown(headers: dict[str, str]) -> dict[str, str]:
    """The metadata in an answer."""
    return {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}


@pytest.mark.semantics("Q-6", "R-7")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_an_object_with_many_headers_is_delivered_read_and_written_over(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    # Each push looks at what is there first.
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_CONFLICT_CHECK_AFTER="0s")
    for number in (125, 130):  # MinIO counts `x-amz-meta-` to the 2 KB of metadata
        status, headers, document = raw(daemon, "PUT", f"/{bucket}/k", b"x" * number, **metadata(number))
        assert (status, headers.get("x-s3d-durability")) == (200, "local"), document
        assert shown(raw(daemon, "HEAD", f"/{bucket}/k")[1]) == metadata(number), "while it is pending"
        eventually(lambda: drained(daemon))
        for method in ("HEAD", "GET"):
            status, headers, _ = raw(daemon, method, f"/{bucket}/k")
            assert (status, shown(headers)) == (200, metadata(number))


@pytest.mark.semantics("R-7", "Q-18")
def test_what_somebody_else_wrote_with_many_headers_is_read_and_written_over(start_daemon: StartDaemon) -> None:
    store = Store()
    store.port = free_port()
    store.fake.buckets["b"] = Bucket("b", 0.0)
    store.fake.buckets["b"].add(Version("k", "null", b"there", md5(b"there"), headers=metadata(500)))
    with store.serving():
        daemon = start_daemon(as_remote(store), S3D_BUCKETS="b", S3D_WRITE_QUEUE_CONFLICT_CHECK_AFTER="0s")
        status, headers, body = raw(daemon, "GET", "/b/k")
        assert (status, shown(headers), body) == (200, metadata(500), b"there")
        assert raw(daemon, "PUT", "/b/k", b"new", **metadata(400))[0] == 200
        eventually(lambda: drained(daemon))
        assert store.data("b", "k") == b"new"
        assert shown(raw(daemon, "HEAD", "/b/k")[1]) == metadata(400)


@pytest.mark.semantics("Q-15", "A-6")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_more_bytes_of_headers_than_s3_takes_are_refused_at_once(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket)
    long = {"Content-Disposition": "d" * 4000, "Content-Language": "l" * 4000}
    for headers in (long, metadata(700), {"x-amz-meta-long": "v" * 2100}):
        status, _, document = raw(daemon, "PUT", f"/{bucket}/k", b"x", **headers)
        assert status == 400, document
    assert daemon.status()["pending"]["changes"] == 0
