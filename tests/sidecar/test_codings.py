"""Content codings: what an object has stays, in however many lines it is said; that of its way here does not."""

import http.client
import itertools
import secrets
from urllib.parse import urlsplit

import pytest

from tests.daemons import Daemon, StartDaemon
from tests.remotes import Remote

FRAMED = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
TRAILING = [
    ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
    ("x-amz-decoded-content-length", "5"),
    ("x-amz-trailer", "x-amz-checksum-crc32"),
]
SAID = {
    "one line": ["gzip,aws-chunked"],
    "framing first": ["aws-chunked", "gzip"],
    "framing last": ["gzip", "aws-chunked"],
    "three lines": ["gzip", "br", "aws-chunked"],
    "another case": ["AWS-Chunked", "gzip"],
    "framing alone": ["AWS-CHUNKED"],
}


def put(daemon: Daemon, path: str, body: bytes, lines: list[str], headers: list[tuple[str, str]]) -> int:
    connection = http.client.HTTPConnection(urlsplit(daemon.endpoint).netloc, timeout=60)
    try:
        connection.putrequest("PUT", path)
        for name, value in [
            ("Content-Length", str(len(body))),
            *(("Content-Encoding", line) for line in lines),
            *headers,
        ]:
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.mark.semantics("Q-6", "R-7")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_an_objects_codings_are_all_kept_and_the_framing_is_not(remote: Remote, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote, S3D_WRITE_QUEUE_DELAY="1h")
    prefix, pending, expected = secrets.token_hex(6), 0, {}
    for number, (lines, framed) in enumerate(itertools.product(SAID.values(), (True, False))):
        bucket = f"test-{prefix}-{number}"
        remote.client().create_bucket(Bucket=bucket)
        body, headers = (FRAMED, TRAILING) if framed else (b"hello", [])
        expected[bucket] = ",".join(line for line in ",".join(lines).split(",") if line.lower() != "aws-chunked")
        # The first write of a profile goes through, and one with a header in two lines always does.
        for key in ("first", "second"):
            assert put(daemon, f"/{bucket}/{key}", body, lines, headers) == 200
            shown = daemon.client().head_object(Bucket=bucket, Key=key)
            assert shown.get("ContentEncoding", "").replace(" ", "") == expected[bucket], (lines, framed)
        pending += len(lines) == 1
        assert daemon.status()["pending"]["changes"] == pending, (lines, framed)
    daemon.terminate()
    for bucket, codings in expected.items():
        there = remote.client().head_object(Bucket=bucket, Key="second")
        assert there.get("ContentEncoding", "").replace(" ", "") == codings
