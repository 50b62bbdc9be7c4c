"""What is acknowledged outlives everything (SEMANTICS D): kills, lost answers, a second process, another remote."""

import hashlib
import itertools
import socket
from urllib.parse import urlsplit

import pytest

from tests.clients import code_of, data_of, raw
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import AWAY, Relay, Relayed
from tests.remotes import Remote

SIZES = (0, 1, 4096, 16384, 16385, 300_000, 5 << 20)

BAD_DIGESTS = [
    {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="},
    {"x-amz-content-sha256": "0" * 64},
    {"x-amz-checksum-crc32": "AAAAAA=="},
    {"x-amz-checksum-sha256": "A" * 43 + "="},
]


@pytest.mark.semantics("D-1", "D-6", "R-1", "Q-1", "Q-5")
def test_a_put_while_the_remote_is_away_is_read_at_once_and_arrives_later(
    away: tuple[Daemon, Relayed, str], remote: Remote
) -> None:
    daemon, relayed, bucket = away
    s3, answers = daemon.client(), {}
    for size in SIZES:
        named = {"Bucket": bucket, "Key": f"k{size}"}
        put = s3.put_object(**named, Body=data_of(size), ContentType="text/x", Metadata={"a": "b"})
        assert put["ResponseMetadata"]["HTTPHeaders"]["x-s3d-durability"] == "local", size
        got = s3.get_object(**named)
        assert got["Body"].read() == data_of(size)
        answers[size] = put, got, s3.head_object(**named)
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    for size, (put, got, head) in answers.items():
        there = remote.client().get_object(Bucket=bucket, Key=f"k{size}")
        assert there["Body"].read() == data_of(size)
        for answer in (put, got, head, there):
            assert answer["ETag"] == f'"{hashlib.md5(data_of(size)).hexdigest()}"', size
        for answer in (got, head, there):
            assert answer["ContentType"] == "text/x"
            assert answer["Metadata"] == {"a": "b"}


@pytest.mark.semantics("D-1", "R-1")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_delete_while_the_remote_is_away_hides_the_object_and_arrives_later(
    away: tuple[Daemon, Relayed, str], remote: Remote
) -> None:
    daemon, relayed, bucket = away
    remote.client().put_object(Bucket=bucket, Key="k", Body=b"old")
    s3 = daemon.client()
    s3.delete_object(Bucket=bucket, Key="k")
    assert code_of(s3.get_object, Bucket=bucket, Key="k") == "NoSuchKey"
    assert code_of(s3.head_object, Bucket=bucket, Key="k") == "404"
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert code_of(remote.client().head_object, Bucket=bucket, Key="k") == "404"


@pytest.mark.semantics("D-1", "Q-3", "Q-13")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_killed_daemon_goes_on_where_it_was(away: tuple[Daemon, Relayed, str], remote: Remote) -> None:
    daemon, relayed, bucket = away
    s3 = daemon.client()
    for number, size in enumerate(SIZES):
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=data_of(size, 1))
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=data_of(size, 2))
    daemon.kill()
    daemon.start()
    for number, size in enumerate(SIZES):
        assert s3.get_object(Bucket=bucket, Key=f"k{number}")["Body"].read() == data_of(size, 2)
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    for number, size in enumerate(SIZES):
        assert remote.client().get_object(Bucket=bucket, Key=f"k{number}")["Body"].read() == data_of(size, 2)


@pytest.mark.semantics("Q-12")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_sigterm_drains_and_says_what_is_left(away: tuple[Daemon, Relayed, str], remote: Remote) -> None:
    daemon, relayed, bucket = away
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x" * 100)
    daemon.settings["S3D_DRAIN_SECONDS"] = "1s"
    daemon.settings["S3D_TERMINATION_LOG"] = str(daemon.directory / "left")
    daemon.kill()
    assert daemon.start().terminate() == 75
    assert "1 changes, 100 bytes" in daemon.output()
    assert '"changes": 1, "bytes": 100' in (daemon.directory / "left").read_text()
    relayed.set(mode="pass")
    daemon.settings["S3D_DRAIN_SECONDS"] = "60s"
    assert daemon.start().terminate() == 0
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * 100


@pytest.mark.checklist(13)
@pytest.mark.checklist(15)
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_hook_ends_nothing_and_no_drain_is_longer_than_the_deadline_that_began_with_it(
    away: tuple[Daemon, Relayed, str],
) -> None:
    daemon, _, bucket = away
    daemon.settings |= {"S3D_DRAIN_SECONDS": "1h", "S3D_DEADLINE_SECONDS": "1ms"}
    daemon.settings["S3D_TERMINATION_LOG"] = str(daemon.directory / "left")
    daemon.kill()
    daemon.start()
    assert daemon.cli("prestop").returncode == 0
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x" * 100)
    door = urlsplit(daemon.endpoint)
    with socket.create_connection((door.hostname, door.port)) as half_sent:
        half_sent.sendall(f"PUT /{bucket}/half HTTP/1.1\r\nHost: {door.netloc}\r\nContent-Length: 2\r\n\r\nx".encode())
        assert daemon.client().head_object(Bucket=bucket, Key="k")["ContentLength"] == 100
        assert daemon.terminate() == 75
    assert '"changes": 1, "bytes": 100' in (daemon.directory / "left").read_text()


@pytest.mark.semantics("Q-5")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_digest_that_does_not_match_leaves_nothing(daemon: Daemon, bucket: str) -> None:
    for headers, size in itertools.product(BAD_DIGESTS, (10, 100_000)):
        status, _, document = raw(daemon, "PUT", f"/{bucket}/k", b"x" * size, **headers)
        assert status == 400, (headers, size)
        assert b"Digest" in document or b"Mismatch" in document, (headers, size)
        assert raw(daemon, "GET", f"/{bucket}/k")[0] == 404, (headers, size)
        assert daemon.status()["pending"]["changes"] == 0
        assert not [p for p in (daemon.local_dir / "queue" / "bodies").rglob("*") if p.is_file()], (headers, size)


@pytest.mark.semantics("D-8")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_second_process_on_the_local_dir_names_the_first(daemon: Daemon, bucket: str) -> None:
    second = Daemon(daemon.directory, daemon.settings)
    second.start(ready=False)
    assert second.process.wait() != 0
    assert f"pid {daemon.process.pid}" in daemon.output()
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")


@pytest.mark.semantics("D-9", "D-9a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_local_dir_with_changes_belongs_to_its_remote(away: tuple[Daemon, Relayed, str], remote: Remote) -> None:
    daemon, relayed, bucket = away
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    daemon.kill()
    own = daemon.settings["S3_ENDPOINT"]
    daemon.settings["S3_ENDPOINT"] = remote.endpoint
    daemon.start(ready=False)
    assert daemon.process.wait() != 0
    assert own in daemon.output()
    daemon.settings["S3_ENDPOINT"] = own
    relayed.set(mode="pass")
    daemon.start()
    eventually(lambda: drained(daemon))


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_silence_is_noticed_and_ends(remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, **{**AWAY, "S3D_AWAY_AFTER": "300ms"})
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    eventually(lambda: drained(daemon))
    relayed.set(mode="silence")
    s3.put_object(Bucket=bucket, Key="k2", Body=b"x")
    eventually(lambda: daemon.status()["remote"]["state"] == "away")
    assert code_of(s3.list_buckets) == "ServiceUnavailable"
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k2")["Body"].read() == b"x"


@pytest.mark.semantics("Q-3")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_lost_answer_is_asked_for_again_before_the_next_change(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    s3 = daemon.client()
    relayed.set(mode="drop", only=["PUT"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    eventually(lambda: daemon.status()["states"]["in_doubt"] == 1)
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    # Again and again the first one is asked for, and then is on its way for a moment.
    between = {"in_doubt": 1, "waiting": 1}
    eventually(lambda: between.items() <= daemon.status()["states"].items())
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


@pytest.mark.semantics("D-1")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_client_that_leaves_halfway_leaves_the_old_version(daemon: Daemon, bucket: str) -> None:
    s3, address = daemon.client(), urlsplit(daemon.endpoint)
    for sent in (0, 1, 16_384, 65_536, 300_000, 999_999):
        s3.put_object(Bucket=bucket, Key=f"k{sent}", Body=b"old")
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            head = f"PUT /{bucket}/k{sent} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000000\r\n\r\n"
            connection.sendall(head.encode() + b"x" * sent)
        eventually(lambda: drained(daemon))
        assert s3.get_object(Bucket=bucket, Key=f"k{sent}")["Body"].read() == b"old", sent
        eventually(lambda: not [p for p in (daemon.local_dir / "queue" / "bodies").rglob("*") if p.is_file()])


@pytest.mark.semantics("Q-6")
def test_metadata_beyond_ascii_travels_as_it_came(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    # What a remote shows of it is the remote's affair: some write it anew.
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    status, _, _ = raw(
        daemon, "PUT", f"/{bucket}/k", b"x", **{"x-amz-meta-a": "caf\u00e9 \u4e2d".encode().decode("latin-1")}
    )
    assert status == 200
    pending = raw(daemon, "HEAD", f"/{bucket}/k")[1]["x-amz-meta-a"]
    assert pending.encode("latin-1").decode() == "caf\u00e9 \u4e2d"
    assert daemon.cli("flush").returncode == 0
    assert drained(daemon)
