"""The read cache of a daemon in front of real stores. S3D_E2E_SOAK_HOURS makes its kills many more."""

import io
import json
import os
import random
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from s3d.store.blocks import BLOCK_BYTES
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import Faults, Faulty, faults
from tests.remotes import Remote

__all__ = ["faults"]

pytestmark = pytest.mark.remote
one = pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
"""What a store has no part in is shown in front of one."""
queued_or_not = pytest.mark.parametrize(
    "remote, queued",
    [("moto", "true"), ("versitygw", "true"), ("minio", "true"), ("versitygw", "false")],
    indirect=["remote"],
)

DATA = bytes(range(256)) * 12_000
HUGE = 10 << 30
SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
KILLS = 200 if SOAK_HOURS else 3
MOMENT = 0.3
"""Seconds after an overwrite within which a process is killed."""
IN_PARTS = TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20)


def read(daemon: Daemon, bucket: str, **asked: Any) -> tuple[str, bytes, dict[str, Any]]:
    """What an answer says of where it is from, its bytes, and the answer."""
    answer = daemon.client().get_object(Bucket=bucket, Key="k", **asked)
    return answer["ResponseMetadata"]["HTTPHeaders"].get("x-cache", ""), answer["Body"].read(), answer


def read_or_status(daemon: Daemon, bucket: str) -> bytes | int:
    """The bytes, or the status of a refusal."""
    try:
        return read(daemon, bucket)[1]
    except ClientError as error:
        status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return status


@pytest.mark.semantics("C-2", "C-3", "C-6")
@queued_or_not
def test_a_store_is_asked_for_no_byte_twice_and_may_go_away(
    remote: Remote, bucket: str, start_daemon: StartDaemon, queued: str
) -> None:
    daemon = start_daemon(remote, S3D_READ_CACHE="true", S3D_BUCKETS=bucket, S3D_WRITE_QUEUE=queued)
    there = remote.client()
    there.put_object(Bucket=bucket, Key="k", Body=DATA, ContentType="text/x", Metadata={"a": "1"})
    assert read(daemon, bucket)[:2] == ("MISS", DATA)
    eventually(lambda: cached(daemon) == 1)
    how, data, answer = read(daemon, bucket)
    assert (how, data) == ("REVALIDATED", DATA)
    assert (answer["ContentType"], answer["Metadata"], answer["ContentLength"]) == ("text/x", {"a": "1"}, len(DATA))
    how, data, answer = read(daemon, bucket, Range="bytes=1048570-1048580")
    assert (how, data) == ("REVALIDATED", DATA[1048570:1048581])
    own = there.get_object(Bucket=bucket, Key="k", Range="bytes=1048570-1048580")
    own["Body"].close()
    assert answer["ContentRange"] == own["ContentRange"]
    how, _, answer = read(daemon, bucket, ResponseContentType="text/y")
    assert (how, answer["ContentType"]) == ("REVALIDATED", "text/y")
    there.put_object(Bucket=bucket, Key="k", Body=b"new")
    assert read(daemon, bucket)[:2] == ("MISS", b"new")
    daemon.client().put_object(Bucket=bucket, Key="k", Body=DATA[:-1])
    eventually(lambda: drained(daemon))
    assert read(daemon, bucket)[1] == DATA[:-1]


def cached(daemon: Daemon) -> int:
    """Objects in the cache."""
    return int(daemon.status()["read_cache"]["entries"])


@one
def test_what_is_cached_can_be_listed_and_dropped(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote, S3D_READ_CACHE="true", S3D_BUCKETS=bucket)
    for key in ("a/1", "a/2", "b/1"):
        remote.client().put_object(Bucket=bucket, Key=key, Body=b"data")
        daemon.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    eventually(lambda: cached(daemon) == 3)
    lines = daemon.cli("cache", "ls", f"{bucket}/a/").stdout.decode().splitlines()
    assert [line.split("\t")[:2] for line in lines] == [[f"{bucket}/a/1", "4"], [f"{bucket}/a/2", "4"]]
    assert daemon.cli("cache", "drop", f"{bucket}/a/").stdout.decode().split("\t")[0] == "2"
    assert daemon.cli("cache", "stat").stdout.decode().split("\t")[0] == "1"
    assert daemon.cli("cache", "drop").returncode == 2
    assert daemon.cli("cache", "drop", "--all").returncode == 0
    assert cached(daemon) == 0


def keys_file(path: Path, *keys: dict[str, Any]) -> str:
    """Write access keys of the S3 door to a file; its path."""
    path.write_text(json.dumps([{**key, "secret": f"the-secret-of-{key['id']}"} for key in keys]))
    path.chmod(0o600)
    return str(path)


def warmed(daemon: Daemon, *words: str) -> dict[str, str]:
    """What came of each object that was to be read ahead, by its name."""
    done = daemon.cli("cache", "warm", *words)
    assert done.returncode == 0, done.stderr
    return {name: what for name, what, _ in (line.split("\t") for line in done.stdout.decode().splitlines())}


@pytest.mark.semantics("C-14")
@one
def test_what_is_not_cached_is_read_ahead_by_who_may_read_it(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    stranger, friend = {"id": "stranger", "buckets": ["another-bucket"]}, {"id": "friend"}
    keys = keys_file(tmp_path / "keys.json", stranger, friend)
    daemon = start_daemon(remote, S3D_READ_CACHE="true", S3D_BUCKETS=bucket, S3D_ACCESS_KEYS_FILE=keys)
    for key in ("a/1", "a/2", "b/1"):
        remote.client().put_object(Bucket=bucket, Key=key, Body=DATA)
    # A command signs with the first key of the file that its environment names.
    refused = daemon.cli("cache", "warm", bucket)
    assert (refused.returncode, b"AccessDenied" in refused.stderr) == (1, True)
    assert cached(daemon) == 0
    daemon.settings["S3D_ACCESS_KEYS_FILE"] = keys_file(tmp_path / "own.json", friend)
    assert warmed(daemon, f"{bucket}/a/", "--max", "1") == {f"{bucket}/a/1": "fetched"}
    eventually(lambda: cached(daemon) == 1)
    rest = warmed(daemon, bucket, "--parallel", "3", "--rate", "0")
    assert rest == {f"{bucket}/a/1": "cached before", f"{bucket}/a/2": "fetched", f"{bucket}/b/1": "fetched"}
    eventually(lambda: cached(daemon) == 3)
    lines = daemon.cli("cache", "warm", "--json", f"{bucket}/b/").stdout.splitlines()
    assert list(map(json.loads, lines)) == [{"object": f"{bucket}/b/1", "result": "cached before", "bytes": 0}]


@pytest.mark.semantics("C-13")
@one
def test_what_is_cached_can_be_verified(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote, S3D_READ_CACHE="true", S3D_BUCKETS=bucket)
    remote.client().put_object(Bucket=bucket, Key="k", Body=DATA)
    assert read(daemon, bucket)[1] == DATA
    eventually(lambda: cached(daemon) == 1)
    done = daemon.cli("cache", "verify")
    assert (done.returncode, done.stdout.decode()) == (0, f"1\t3\t{len(DATA)}\t0\n")
    (path,) = [path for path in (daemon.local_dir / "cache" / "blocks").rglob("*") if path.is_file()]
    with path.open("r+b") as file:
        file.write(b"damage")
    done = daemon.cli("cache", "verify", bucket)
    assert (done.returncode, done.stdout.decode()) == (1, f"1\t3\t{len(DATA)}\t1\n")
    assert f"1 block of {bucket}/k" in done.stderr.decode()
    assert read(daemon, bucket)[:2] == ("MISS", DATA)
    eventually(lambda: json.loads(daemon.cli("cache", "verify", "--json").stdout)["blocks"] == 3)


def bodies_asked_for(proxy: Faulty) -> int:
    """How many answers with the bytes of an object a remote was asked for."""
    return sum(asked.startswith("GET ") and "/k" in asked for asked in proxy.stats()["requests"])


@pytest.mark.semantics("C-2")
def test_of_an_object_that_is_copied_onto_itself_with_new_metadata_no_byte_is_fetched(
    remote: Remote, bucket: str, start_daemon: StartDaemon, faults: Faults
) -> None:
    proxy = faults(remote)
    daemon = start_daemon(proxy.remote, S3D_READ_CACHE="true", S3D_BUCKETS=bucket)
    there, named = remote.client(), {"Bucket": bucket, "Key": "k"}
    there.put_object(**named, Body=DATA, ContentType="text/x", Metadata={"a": "old"})
    assert read(daemon, bucket)[:2] == ("MISS", DATA)
    eventually(lambda: cached(daemon) == 1)
    changed = {"MetadataDirective": "REPLACE", "ContentType": "text/y", "Metadata": {"a": "new"}}
    there.copy_object(**named, CopySource=f"{bucket}/k", **changed)
    how, data, answer = read(daemon, bucket)
    assert (how, data) == ("REVALIDATED", DATA)
    assert (answer["ContentType"], answer["Metadata"]) == ("text/y", {"a": "new"})
    assert bodies_asked_for(proxy) == 1


@pytest.mark.semantics("C-6")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_one_byte_of_a_huge_object_costs_one_block(
    remote: Remote, bucket: str, start_daemon: StartDaemon, faults: Faults
) -> None:
    proxy = faults(remote)
    daemon = start_daemon(proxy.remote, S3D_READ_CACHE="true")
    remote.client().put_object(Bucket=bucket, Key="k", Body=b"the first bytes")
    # Its file is made longer, and what is behind the first bytes takes no room.
    os.truncate(remote.program.log.parent / "data" / bucket / "k", HUGE)
    for how in ("MISS", "REVALIDATED"):
        there, data, answer = read(daemon, bucket, Range=f"bytes={HUGE // 2}-{HUGE // 2}")
        assert (there, data, answer["ContentRange"]) == (how, b"\0", f"bytes {HUGE // 2}-{HUGE // 2}/{HUGE}")
        eventually(lambda: cached(daemon) == 1)
    assert (bodies_asked_for(proxy), daemon.status()["read_cache"]["bytes"]) == (1, BLOCK_BYTES)


@pytest.mark.semantics("C-11")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_of_many_damaged_blocks_each_is_counted_and_no_byte_is_given_out(
    remote: Remote, bucket: str, start_daemon: StartDaemon, faults: Faults
) -> None:
    proxy, chance, blocks = faults(remote), random.Random("s3d"), 20
    daemon = start_daemon(proxy.remote, S3D_READ_CACHE="true")
    whole = chance.randbytes(blocks * BLOCK_BYTES)
    remote.client().put_object(Bucket=bucket, Key="k", Body=whole)
    assert read(daemon, bucket)[1] == whole
    eventually(lambda: cached(daemon) == 1)
    daemon.kill()
    (path,) = [path for path in (daemon.local_dir / "cache" / "blocks").rglob("*") if path.is_file()]
    with path.open("r+b") as file:
        for number in range(blocks):
            at = number * BLOCK_BYTES + chance.randrange(BLOCK_BYTES)
            file.seek(at)
            file.write(bytes([whole[at] ^ 1 << chance.randrange(8)]))
    daemon.start()
    assert read(daemon, bucket)[1] == whole
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=60) as page:
        assert b"s3d_cache_corrupt_blocks_total 20.0" in page.read()
    asked = bodies_asked_for(proxy)
    assert read(daemon, bucket)[1] == whole
    assert bodies_asked_for(proxy) == asked


@pytest.mark.semantics("C-3")
@one
def test_what_is_cached_is_read_after_a_restart_without_the_store(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_READ_CACHE="true", S3D_BUCKETS=bucket)
    remote.client().put_object(Bucket=bucket, Key="k", Body=DATA)
    assert read(daemon, bucket)[1] == DATA
    eventually(lambda: cached(daemon) == 1)
    send_nowhere(daemon)
    how, data, answer = read(daemon, bucket)
    assert (how, data) == ("STALE", DATA)
    assert int(answer["ResponseMetadata"]["HTTPHeaders"]["age"]) >= 0
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=60) as page:
        assert b's3d_cache_requests_total{result="stale"} 1.0' in page.read()


@pytest.mark.semantics("C-9")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.timeout(600 + SOAK_HOURS * 3600)
def test_after_a_kill_at_any_moment_of_an_overwrite_the_old_version_is_never_read(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_READ_CACHE="true", S3D_BUCKETS=bucket)
    with_remote = dict(daemon.settings)
    seed = os.environ.get("S3D_E2E_SEED") or "s3d"
    print(f"S3D_E2E_SEED={seed}")
    chance = random.Random(seed)
    for number in range(KILLS):
        # Small ones lie in the queue's row, large ones in a file that is handed over.
        old, new = (bytes([number % 256, kind]) * chance.choice([100, 1 << 20]) for kind in (1, 2))
        daemon.client().put_object(Bucket=bucket, Key="k", Body=old)
        eventually(lambda: drained(daemon))
        assert read(daemon, bucket)[1] == old
        daemon.client().put_object(Bucket=bucket, Key="k", Body=new)
        # In its push, drop or hand-over, or behind them: the kill's moment is the test, nothing waits for it.
        time.sleep(chance.uniform(0.0, MOMENT))
        send_nowhere(daemon)
        assert read_or_status(daemon, bucket) in (new, 503), f"kill {number}"
        daemon.kill()
        daemon.settings.clear()
        daemon.settings.update(with_remote)
        daemon.start()
        eventually(lambda: drained(daemon))
        assert read(daemon, bucket)[1] == new


@pytest.mark.semantics("C-7b")
@queued_or_not
def test_what_is_pinned_is_read_by_nobody_before_the_store_goes_away(
    remote: Remote, bucket: str, start_daemon: StartDaemon, queued: str
) -> None:
    daemon = start_daemon(remote, S3D_READ_CACHE="true", S3D_BUCKETS=bucket, S3D_WRITE_QUEUE=queued)
    through, tagging = daemon.client(), {"TagSet": [{"Key": "s3d.cache", "Value": "pin"}]}
    through.put_object(Bucket=bucket, Key="k", Body=DATA, Tagging="s3d.cache=pin")
    remote.client().put_object(Bucket=bucket, Key="tagged", Body=DATA)
    through.put_object_tagging(Bucket=bucket, Key="tagged", Tagging=tagging)
    through.upload_fileobj(io.BytesIO(bytes(6 << 20)), bucket, "parts", {"Tagging": "s3d.cache=pin"}, Config=IN_PARTS)
    through.put_object(Bucket=bucket, Key="other", Body=DATA)
    eventually(lambda: drained(daemon) and kept(daemon) == 3)
    assert daemon.cli("cache", "stat").stdout.decode().split()[2:] == ["3", "0", "0"]
    lines = [line.split("\t") for line in daemon.cli("cache", "ls").stdout.decode().splitlines()]
    assert {name for name, *_, stays in lines if stays == "pinned"} == {
        f"{bucket}/{k}" for k in ("k", "tagged", "parts")
    }
    send_nowhere(daemon)
    for key, data in ("k", DATA), ("tagged", DATA), ("parts", bytes(6 << 20)):
        answer = daemon.client().get_object(Bucket=bucket, Key=key)
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-cache"] == "STALE"
        assert answer["Body"].read() == data


def send_nowhere(daemon: Daemon) -> None:
    """Start a daemon again without its remote: nobody listens where it sends what is for that endpoint."""
    daemon.kill()
    daemon.settings |= {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    daemon.start()


def kept(daemon: Daemon) -> int:
    """Names that are pinned, and cached whole."""
    return int(daemon.status()["read_cache"]["pins"]["kept"])


@pytest.mark.semantics("C-11a", "C-10f")
@one
def test_what_was_cached_is_forgotten_where_no_cache_is_any_more(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_READ_CACHE="true", S3D_BUCKETS=bucket)
    remote.client().put_object(Bucket=bucket, Key="k", Body=DATA)
    read(daemon, bucket)
    eventually(lambda: cached(daemon) == 1)
    elsewhere = daemon.local_dir / "elsewhere"
    for changes in ({"S3D_READ_CACHE_DIR": str(elsewhere)}, {"S3D_READ_CACHE": "false"}):
        daemon.terminate()
        daemon.settings.update(changes)
        daemon.start()
        left = [path for path in daemon.local_dir.rglob("*.db") if path.parent.name in ("cache", "elsewhere")]
        assert {path.parent for path in left} == ({elsewhere} if daemon.settings["S3D_READ_CACHE"] == "true" else set())
        assert not (daemon.local_dir / "cache" / "blocks").exists()
