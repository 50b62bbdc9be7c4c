"""White space in the values of headers: however a store reads it for a signature, what is written arrives.

AWS documents one reading, MinIO and botocore have another one. What one store takes, another refuses.
"""

import itertools

import pytest

from tests.clients import raw
from tests.daemons import StartDaemon, drained, eventually
from tests.remotes import Remote

VALUES = {
    "a tab": "a\tb",
    "tabs and blanks": "a \t  b",
    "blanks": "a   b",
    "a no-break space": "a\u00a0b",
    "a no-break space beside a blank": "10\u00a0000 cafes d'ici",
    "an ideographic space": "a\u3000 b",
    "a line separator": "a\u2028 b",
    "a next line": "a\u0085 b",
    "blanks of Unicode at both ends": "\u3000a b\u00a0",
}


def spelt(value: str) -> str:
    """The bytes of a value, as http.client sends them."""
    return value.encode().decode("latin-1")


@pytest.mark.semantics("Q-6", "R-7a")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_metadata_with_white_space_is_delivered(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket)
    daemon.warm(bucket)
    for size, (number, value) in itertools.product((1, 2 << 20), enumerate(VALUES.values())):
        sent = {"x-amz-meta-v": spelt(value)}
        status, headers, _ = raw(daemon, "PUT", f"/{bucket}/{number}-{size}", b"x" * size, **sent)
        assert (status, headers["x-s3d-durability"]) == (200, "local")
    eventually(lambda: drained(daemon))
    assert "SignatureDoesNotMatch" not in daemon.output()
    listed = remote.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert len(listed) == 2 * len(VALUES)


@pytest.mark.semantics("R-7a")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_a_write_with_white_space_that_goes_through_is_taken(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    # Its body comes from the client, so that it cannot be sent again.
    daemon = start_daemon(remote, S3D_WRITE_QUEUE="false")
    for name, value in VALUES.items():
        status, _, document = raw(daemon, "PUT", f"/{bucket}/k", b"x", **{"x-amz-meta-v": spelt(value)})
        assert status == 200, (name, document)
