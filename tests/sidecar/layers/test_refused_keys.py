"""Keys that the remote refuses, or a wrong way to it, are a state of the remote, whoever met it (SEMANTICS R-11)."""

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clients import code_of
from tests.daemons import StartDaemon, eventually
from tests.fakes.contents import Bucket
from tests.processes import free_port, running, start, wait_for_http
from tests.remotes import Remote
from tests.sidecar.layers.test_answers_early import as_remote
from tests.stores import Odd, Store

ASKS: dict[str, Callable[[Any, str], str]] = {
    "PUT": lambda s3, bucket: code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x"),
    "GET": lambda s3, bucket: code_of(s3.get_object, Bucket=bucket, Key="k"),
    "a listing": lambda s3, bucket: code_of(s3.list_objects_v2, Bucket=bucket),
}
"""What an application asks first."""
WRONG = {
    "an account that is none": ("AKIANOBODYKNOWSTHIS", "secret", "InvalidAccessKeyId"),
    "another secret": ("", "wrongwrongwrong", "SignatureDoesNotMatch"),
}


@pytest.mark.semantics("R-11")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
@pytest.mark.parametrize("wrong", WRONG)
def test_keys_that_were_never_right_are_shown_until_they_are(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path, wrong: str
) -> None:
    access_key, secret_key, code = WRONG[wrong]

    def write(access_key: str, secret_key: str) -> None:
        (tmp_path / "accessKeyID").write_text(access_key)
        (tmp_path / "secretAccessKey").write_text(secret_key)

    write(access_key or remote.access_key, secret_key)
    daemon = start_daemon(remote, S3D_CREDENTIALS_DIR=str(tmp_path))
    s3 = daemon.client()
    for number, ask in enumerate(ASKS.values(), 1):
        assert ask(s3, bucket), "it succeeded"
        said = daemon.status()["remote"]
        assert (said["credentials"], said["refusal"]) == ("refused", code), f"after {number} requests"
    assert b"remote.refusal\t" + code.encode() in daemon.cli("status").stdout
    assert daemon.output().count("the remote refuses all that is asked of it") == 1
    write(remote.access_key, remote.secret_key)
    eventually(lambda: ASKS["PUT"](s3, bucket) == "")
    said = daemon.status()["remote"]
    assert (said["credentials"], said["refusal"]) == ("found", "")


@pytest.mark.semantics("R-11a")
@pytest.mark.parametrize("remote, ask", [*(("versitygw", ask) for ask in ASKS), ("minio", "PUT")], indirect=["remote"])
def test_a_path_that_does_not_belong_into_the_endpoint_is_shown(
    remote: Remote, bucket: str, start_daemon: StartDaemon, ask: str
) -> None:
    daemon = start_daemon(replace(remote, endpoint=f"{remote.endpoint}/prefix"))
    assert ASKS[ask](daemon.client(), bucket) == "NoSuchBucket"
    said = daemon.status()["remote"]
    assert (said["credentials"], said["refusal"]) == ("found", "NoSuchBucket")
    assert "below the path /prefix of S3_ENDPOINT" in daemon.output()


@pytest.mark.semantics("R-11a")
@pytest.mark.parametrize(
    "remote, ask, code",
    [("versitygw", "PUT", "NoSuchBucket"), ("minio", "a listing", "NoSuchBucket"), ("minio", "buckets", "NotS3")],
    indirect=["remote"],
)
def test_a_bucket_as_the_path_of_the_endpoint_is_shown(
    remote: Remote, bucket: str, start_daemon: StartDaemon, ask: str, code: str
) -> None:
    daemon = start_daemon(replace(remote, endpoint=f"{remote.endpoint}/{bucket}"))
    asks = ASKS | {"buckets": lambda s3, _: code_of(s3.list_buckets)}
    assert asks[ask](daemon.client(), bucket)
    said = daemon.status()["remote"]
    assert (said["credentials"], said["refusal"]) == ("found", code)
    assert daemon.output().count("the remote is not found") == 1
    assert b"remote.refusal\t" + code.encode() in daemon.cli("status").stdout


@pytest.mark.semantics("R-11b")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
@pytest.mark.parametrize("ask", ASKS)
def test_a_web_server_at_the_endpoint_is_shown(
    remote: Remote, start_daemon: StartDaemon, tmp_path: Path, ask: str
) -> None:
    port = free_port()
    with running(start([sys.executable, "-m", "http.server", str(port)], tmp_path / "log", {}, tmp_path)) as server:
        wait_for_http(server, f"http://127.0.0.1:{port}", status=200)
        daemon = start_daemon(replace(remote, endpoint=f"http://127.0.0.1:{port}"))
        assert ASKS[ask](daemon.client(), "photos")
        said = daemon.status()["remote"]
        assert (said["state"], said["credentials"], said["refusal"]) == ("reachable", "found", "NotS3")
        assert "what answers is no S3 store" in daemon.output()


PAGES = {
    "a page": 200,
    "a page that is missing": 404,
    "a page that is forbidden": 403,
    "no such method": 405,
}
"""What web servers and ingresses answer, as HTML."""


@pytest.mark.semantics("R-11b")
@pytest.mark.parametrize("page, ask", [*zip(PAGES, itertools.cycle(ASKS), strict=False)])
def test_pages_are_no_store_until_one_answers(start_daemon: StartDaemon, page: str, ask: str) -> None:
    store = Store()
    store.port = free_port()
    store.fake.buckets["b"] = Bucket("b", 0.0)
    with store.serving():
        store.hook(Odd(PAGES[page], {"Content-Type": "text/html"}, "<html>hello</html>"))
        daemon = start_daemon(as_remote(store))
        s3 = daemon.client()
        ASKS[ask](s3, "b")
        said = daemon.status()["remote"]
        assert (said["credentials"], said["refusal"]) == ("found", "NotS3")
        store.clear()
        assert ASKS["GET"](s3, "b") == "NoSuchKey"
        assert daemon.status()["remote"]["refusal"] == ""
        store.hook(Odd(PAGES[page], {"Content-Type": "text/html"}, "<html>hello</html>"))
        ASKS[ask](s3, "b")
        assert daemon.status()["remote"]["refusal"] == "", "a store has answered: this is somebody before it"


@pytest.mark.semantics("R-11")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_what_an_application_asks_amiss_is_no_state(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote)
    s3 = daemon.client()
    assert code_of(s3.put_object, Bucket="never-was", Key="k", Body=b"x") == "NoSuchBucket"
    assert code_of(s3.get_object, Bucket=bucket, Key="never-was") == "NoSuchKey"
    assert code_of(s3.head_object, Bucket=bucket, Key="never-was") == "404"
    assert daemon.status()["remote"]["refusal"] == ""
