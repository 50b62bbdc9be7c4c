"""Keys that the remote refuses, or a wrong way to it, are a state of the remote, whoever met it (SEMANTICS R-11)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clients import code_of
from tests.daemons import StartDaemon, eventually
from tests.remotes import Remote

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


@pytest.mark.semantics("R-11")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
@pytest.mark.parametrize("ask", ["PUT", "GET"])
def test_a_path_that_does_not_belong_into_the_endpoint_is_shown(
    remote: Remote, bucket: str, start_daemon: StartDaemon, ask: str
) -> None:
    daemon = start_daemon(replace(remote, endpoint=f"{remote.endpoint}/prefix"))
    assert ASKS[ask](daemon.client(), bucket) == "NoSuchBucket"
    said = daemon.status()["remote"]
    assert (said["credentials"], said["refusal"]) == ("found", "NoSuchBucket")
    assert "S3_ENDPOINT has the path /prefix" in daemon.output()


@pytest.mark.semantics("R-11")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_what_an_application_asks_amiss_is_no_state(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote)
    s3 = daemon.client()
    assert code_of(s3.put_object, Bucket="never-was", Key="k", Body=b"x") == "NoSuchBucket"
    assert code_of(s3.get_object, Bucket=bucket, Key="never-was") == "NoSuchKey"
    assert code_of(s3.head_object, Bucket=bucket, Key="never-was") == "404"
    assert daemon.status()["remote"]["refusal"] == ""
