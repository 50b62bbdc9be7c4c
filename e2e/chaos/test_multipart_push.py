"""A multipart push is cut off, lied to and refused in the middle: the object arrives once, with the ETag that was
acknowledged, and no upload is left at the remote.
"""

import os
import random
import secrets
import time
from typing import Any

import pytest

from e2e.chaos.requests import drained, pending, states, wait_until
from e2e.chaos.test_remote import newest
from tests.daemons import Daemon, StartDaemon
from tests.relays import Faults, Relay
from tests.remotes import Remote

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
KILLS = 100 if SOAK_HOURS else 8
PART = 5 << 20
BODY = random.Random(0).randbytes(3 * PART + 100_000)

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600 + SOAK_HOURS * 3600),
    pytest.mark.parametrize("remote", ["versitygw"], indirect=True),
]


@pytest.mark.fault(11)
@pytest.mark.semantics("Q-16")
def test_a_multipart_push_that_dies_again_and_again_ends_as_one_object_and_no_upload(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    seed = os.environ.get("S3D_E2E_SEED") or secrets.token_hex(4)
    print(f"seed {seed}")
    choose = random.Random(seed)
    far = relay(remote)
    far.set(mode="refuse")
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket)
    etag = upload(daemon, bucket, "key")
    midway = 0
    for number in range(KILLS):
        # So slow that a push takes seconds, and the last time fast enough to end.
        far.set(mode="pass", bandwidth=4_000_000)
        if number % 2:
            # Midway for sure, also where the machine is slow.
            wait_until(lambda: far.set()["in_flight"] > 0 or not pending(daemon))
        time.sleep(choose.uniform(0.0, 1.5))
        midway += far.set()["in_flight"] > 0 and pending(daemon) > 0
        daemon.kill()
        far.set(mode="refuse")
        daemon.start()
        assert pending(daemon) in (0, 1), number
    far.set(mode="pass", bandwidth=0)
    drained(daemon)
    assert_arrived(remote, bucket, "key", etag)
    print(f"{KILLS} kills, {midway} of them with a request of the push under way")
    assert midway > 0


LIES = {"and nothing happened": False, "though the object is there": True}


@pytest.mark.fault(36)
@pytest.mark.semantics("Q-8")
@pytest.mark.parametrize("name", LIES)
def test_an_error_inside_a_200_to_a_complete_is_a_failed_push(
    name: str, remote: Remote, bucket: str, faults: Faults, start_daemon: StartDaemon
) -> None:
    far = faults(remote)
    error = "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
    lie = {"method": "POST", "path": "uploadId=", "times": 1, "status": 200, "body": error, "forward": LIES[name]}
    far.set(lie)
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket)
    etag = upload(daemon, bucket, "key")
    drained(daemon)
    assert far.stats()["hits"] == [1]
    assert_arrived(remote, bucket, "key", etag)


@pytest.mark.fault(37)
@pytest.mark.semantics("Q-8")
def test_credentials_that_expire_in_the_middle_of_a_multipart_push_pause_it(
    remote: Remote, bucket: str, faults: Faults, start_daemon: StartDaemon
) -> None:
    far = faults(remote)
    far.set({"method": "PUT", "path": "partNumber=[34]", "status": 400, "code": "ExpiredToken"})
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket)
    etag = upload(daemon, bucket, "key")
    wait_until(lambda: newest(daemon, "key", bucket)["code"] == "ExpiredToken")
    assert pending(daemon) == 1
    assert "parked" not in states(daemon)
    assert daemon.client().get_object(Bucket=bucket, Key="key")["Body"].read() == BODY
    far.set()
    drained(daemon)
    assert_arrived(remote, bucket, "key", etag)


def upload(daemon: Daemon, bucket: str, key: str) -> str:
    """Upload the body in parts; the ETag that was acknowledged."""
    client = daemon.client()
    names: dict[str, Any] = {"Bucket": bucket, "Key": key}
    names["UploadId"] = client.create_multipart_upload(**names)["UploadId"]
    parts = []
    for number, at in enumerate(range(0, len(BODY), PART), 1):
        answer = client.upload_part(**names, PartNumber=number, Body=BODY[at : at + PART])
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    etag: str = client.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})["ETag"]
    return etag


def assert_arrived(remote: Remote, bucket: str, key: str, etag: str) -> None:
    """The remote has the object, by the ETag that was acknowledged, and no upload."""
    client = remote.client()
    found = client.get_object(Bucket=bucket, Key=key)
    assert (found["ETag"], found["Body"].read() == BODY) == (etag, True)
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
