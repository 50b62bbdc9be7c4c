"""Bodies that change on the local dir while they are pending: no wrong byte is read, and all others are."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.clients import code_of, data_of, raw
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import Relayed
from tests.remotes import Remote

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)

MIB = 1 << 20
SIZES = (1, 50_000, 200_000, 5 * MIB)
"""In the row; below what is sent by sendfile; above it; of several blocks."""
READS: dict[str, dict[str, str]] = {
    "whole": {},
    "first byte": {"Range": "bytes=0-0"},
    "last byte": {"Range": "bytes=-1"},
    "all but nothing": {"Range": "bytes=0-"},
    "the version that was acknowledged": {"If-Match": "*"},
}
PLACES: dict[str, Callable[[int], int]] = {
    "first": lambda _: 0,
    "middle": lambda size: size // 2,
    "last": lambda size: size - 1,
}


def bodies_of(daemon: Daemon) -> dict[str, Path]:
    """The files of bodies, by what they are called."""
    return {path.name: path for path in (daemon.local_dir / "queue" / "bodies").iterdir() if path.is_file()}


def put(daemon: Daemon, bucket: str, key: str, data: bytes) -> Path | None:
    """Put an object; the file of its body, None where that is in its row."""
    before = bodies_of(daemon)
    daemon.client().put_object(Bucket=bucket, Key=key, Body=data)
    new = bodies_of(daemon).keys() - before.keys()
    return bodies_of(daemon)[new.pop()] if new else None


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def flip_in_row(daemon: Daemon, key: str, at: int) -> None:
    with apsw.Connection(str(daemon.local_dir / "queue" / "queue.db")) as db:
        # A log that is gone is a loss of its own.
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        data = bytearray(next(db.execute("SELECT inline FROM change WHERE key = ?", (key,)))[0])
        data[at] ^= 1
        db.execute("UPDATE change SET inline = ? WHERE key = ?", (bytes(data), key))


def refused(daemon: Daemon, path: str, method: str = "GET", **headers: str) -> bool:
    """Whether a request is told that the object is damaged, and is given no ETag of it."""
    status, given, document = raw(daemon, method, path, None, **headers)
    assert (status, given.get("etag")) == (503, None), (path, headers)
    return b"<Code>ServiceUnavailable</Code>" in document and b"damaged" in document


@pytest.mark.semantics("D-4", "D-4a", "D-11")
@pytest.mark.parametrize("size, restarted", [*((size, False) for size in SIZES), (50_000, True)])
def test_a_flipped_bit_is_503_and_quarantined_by_the_read_that_meets_it(
    remote: Remote, bucket: str, start_daemon: StartDaemon, size: int, restarted: bool
) -> None:
    # A push that meets it first would quarantine it as well.
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    data, s3 = data_of(size), daemon.client()
    files = {
        f"{read}/{place}": put(daemon, bucket, f"{read}/{place}", data) for read in [*READS, "copy"] for place in PLACES
    }
    whole = put(daemon, bucket, "whole", data)
    assert (whole is None) == (size == 1)
    if restarted or whole is None:
        daemon.kill()
    for key, path in files.items():
        at = PLACES[key.split("/")[1]](size)
        if path is None:
            flip_in_row(daemon, key, at)
        else:
            flip(path, at)
    if not daemon.running:
        daemon.start()
    for key in files:
        read = key.split("/")[0]
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == size
        if read == "copy":
            source = {"Bucket": bucket, "Key": key}
            assert code_of(s3.copy_object, Bucket=bucket, Key="copied", CopySource=source) == "ServiceUnavailable"
        else:
            assert refused(daemon, f"/{bucket}/{key}".replace(" ", "%20"), **READS[read])
        assert refused(daemon, f"/{bucket}/{key}".replace(" ", "%20"))
    assert daemon.status()["states"]["quarantined"] == len(files)
    assert code_of(s3.head_object, Bucket=bucket, Key="copied") != ""
    assert s3.get_object(Bucket=bucket, Key="whole")["Body"].read() == data
    assert "Traceback" not in daemon.output()
    for key in files:
        s3.put_object(Bucket=bucket, Key=key, Body=data)
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == data
    assert daemon.cli("flush", bucket).returncode == 0
    for key in files:
        assert remote.client().get_object(Bucket=bucket, Key=key)["Body"].read() == data


@pytest.mark.semantics("D-4", "D-11", "D-11a")
def test_a_range_of_an_upload_verifies_the_parts_that_it_touches(away: tuple[Daemon, Relayed, str]) -> None:
    daemon, _, bucket = away
    s3 = daemon.client()
    sizes = [5 * MIB, 5 * MIB, 5 * MIB, 100_000]
    middles: dict[str, Path] = {}
    for place in PLACES:
        named = {"Bucket": bucket, "Key": place}
        upload = s3.create_multipart_upload(**named)["UploadId"]
        listed: list[dict[str, Any]] = []
        for number, size in enumerate(sizes, 1):
            before = bodies_of(daemon)
            etag = s3.upload_part(**named, UploadId=upload, PartNumber=number, Body=data_of(size, number))["ETag"]
            listed.append({"PartNumber": number, "ETag": etag})
            if number == 2:
                middles[place] = bodies_of(daemon)[(bodies_of(daemon).keys() - before.keys()).pop()]
        s3.complete_multipart_upload(**named, UploadId=upload, MultipartUpload={"Parts": listed})
    daemon.kill()
    for place, middle in middles.items():
        flip(middle, PLACES[place](5 * MIB))
    daemon.start()
    data = data_of(5 * MIB, 1)
    for damaged, place in enumerate(middles):
        named = {"Bucket": bucket, "Key": place}
        got = s3.get_object(**named, Range=f"bytes=10-{5 * MIB - 1}")
        assert got["Body"].read() == data[10:]
        assert s3.get_object(**named, Range="bytes=-100000")["Body"].read() == data_of(100_000, 4)
        assert s3.get_object(**named, PartNumber=3)["Body"].read() == data_of(5 * MIB, 3)
        assert daemon.status()["states"]["quarantined"] == damaged
        assert refused(daemon, f"/{bucket}/{place}", Range=f"bytes={5 * MIB - 1}-{5 * MIB}")
        assert daemon.status()["states"]["quarantined"] == damaged + 1
        assert refused(daemon, f"/{bucket}/{place}", Range="bytes=0-9")
    assert "Traceback" not in daemon.output()


def remove(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace_by_zeros(path: Path) -> None:
    size = path.stat().st_size
    path.unlink()
    path.write_bytes(bytes(size))


def replace_by_another(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    other.replace(path)


def replace_by_a_link(path: Path) -> None:
    real = path.parent.parent.parent / "elsewhere"
    shutil.move(path, real)
    path.symlink_to(real)


def replace_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HARM = [
    remove,
    shorten,
    lengthen,
    empty,
    replace_by_zeros,
    replace_by_another,
    replace_by_a_link,
    replace_by_a_directory,
    replace_by_a_pipe,
]


@pytest.mark.semantics("D-4", "D-11")
@pytest.mark.parametrize("restarted", [True, False], ids=["after a start", "in the same life"])
def test_a_file_that_is_not_the_body_any_more_is_503_and_is_never_delivered(
    away: tuple[Daemon, Relayed, str], remote: Remote, restarted: bool
) -> None:
    daemon, relayed, bucket = away
    s3 = daemon.client()
    sizes = (50_000, 200_000)
    keys = {f"{harm.__name__}/{size}/{read}": harm for harm in HARM for size in sizes for read in ("read", "unread")}
    files = {key: put(daemon, bucket, key, data_of(int(key.split("/")[1]))) for key in keys}
    if restarted:
        daemon.kill()
    for key, harm in keys.items():
        path = files[key]
        assert path is not None
        harm(path)
    if restarted:
        daemon.start()
    for key in keys:
        if key.endswith("/read"):
            assert refused(daemon, f"/{bucket}/{key}", Range="bytes=1-2"), key
    assert daemon.status()["states"]["quarantined"] >= len(keys) / 2
    relayed.set(mode="pass")
    eventually(lambda: daemon.status()["states"]["quarantined"] == len(keys))
    assert remote.client().list_objects_v2(Bucket=bucket).get("Contents", []) == []
    for key in keys:
        assert refused(daemon, f"/{bucket}/{key}")
    assert "Traceback" not in daemon.output()
    s3.put_object(Bucket=bucket, Key=key, Body=b"good")
    eventually(lambda: code_of(remote.client().head_object, Bucket=bucket, Key=key) == "")


@pytest.mark.semantics("D-11")
def test_what_is_copied_from_a_damaged_body_is_nowhere(away: tuple[Daemon, Relayed, str], remote: Remote) -> None:
    """Queued, on its way through since the copy is the first of its profile, and as a part of an upload."""
    daemon, relayed, bucket = away
    s3 = daemon.client()
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    damaged = [put(daemon, bucket, f"k{number}", data_of(200_000)) for number in range(4)]
    for path in damaged:
        assert path is not None
        flip(path, 199_999)
    part = {"Bucket": bucket, "Key": "parts", "UploadId": upload, "PartNumber": 1}
    source = {"Bucket": bucket}
    assert code_of(s3.upload_part_copy, **part, CopySource={**source, "Key": "k0"}) == "ServiceUnavailable"
    first = {**part, "CopySourceRange": "bytes=0-9"}
    assert code_of(s3.upload_part_copy, **first, CopySource={**source, "Key": "k1"}) == "ServiceUnavailable"
    copy = {"Bucket": bucket, "Key": "copied"}
    assert code_of(s3.copy_object, **copy, CopySource={**source, "Key": "k2"}) == "ServiceUnavailable"
    assert s3.list_parts(Bucket=bucket, Key="parts", UploadId=upload).get("Parts", []) == []
    assert daemon.status()["states"]["quarantined"] == 3
    # What is pushed meets it, and so does what waits for that push.
    relayed.set(mode="pass")
    shaped = {"StorageClass": "STANDARD_IA"}
    assert code_of(s3.copy_object, **copy, **shaped, CopySource={**source, "Key": "k3"}) == "ServiceUnavailable"
    assert code_of(remote.client().head_object, **copy) == "404"
    assert "Traceback" not in daemon.output()
    assert not drained(daemon)
