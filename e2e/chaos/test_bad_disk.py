"""The disk fills, turns read-only, gets slow or damaged: writes are refused with 503, reads and the drain go on, and
writes resume by themselves.
"""

import contextlib
import http.client
import itertools
import os
import random
import resource
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.chaos.disks import Disk, new_disk, run
from e2e.chaos.requests import NOTHING, ask, digest, drained, held, pending, put, wait_until
from e2e.chaos.test_kill import remote_digests
from e2e.chaos.test_sweep import bodies, fault
from e2e.chaos.tracing import traced
from tests.daemons import Daemon
from tests.processes import http_status
from tests.relays import Relay, Relayed
from tests.remotes import Remote

choose = random.Random(0)
LARGE = choose.randbytes(2_000_000)
SMALL_DISK = 32 << 20
DAMAGED = 5
"""Pages that are damaged, one after the other."""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@dataclass(slots=True)
class Setting:
    """A daemon whose local dir is a disk of its own, and its remote behind a relay."""

    daemon: Daemon
    disk: Disk
    far: Relayed
    bucket: str

    def put(self, key: str, body: bytes) -> int:
        return put(self.daemon, key, body, bucket=self.bucket)

    def get(self, key: str) -> bytes:
        status, body = ask(self.daemon, "GET", key, bucket=self.bucket)
        assert status == 200, body
        return body


@pytest.fixture
def on_disk(remote: Remote, bucket: str, relay: Relay, tmp_path: Path) -> Iterator[Callable[..., Setting]]:
    """Start a daemon on a new small disk, its remote away."""
    far = relay(remote)
    far.set(mode="refuse")
    daemon = Daemon(tmp_path, {**far.remote.environment, "S3D_BUCKETS": bucket})
    with contextlib.ExitStack() as stack:

        def start(size: int = SMALL_DISK, *options: str) -> Setting:
            disk = stack.enter_context(new_disk(tmp_path / "image", tmp_path / "local", size, *options))
            stack.callback(daemon.kill)
            daemon.start()
            return Setting(daemon, disk, far, bucket)

        yield start
    print(f"--- output of s3d\n{daemon.output()[-20000:]}")


@pytest.mark.fault(19)
@pytest.mark.semantics("Q-7", "Q-7a")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_on_a_full_disk_writes_are_refused_and_reads_and_the_drain_go_on(on_disk: Callable[..., Setting]) -> None:
    at = on_disk()
    fill_up(at, LARGE)
    at.far.set(mode="pass")
    drained(at.daemon)
    # Nobody has to be told that there is room again.
    assert at.put("after", LARGE) == 200
    drained(at.daemon)
    assert_delivered(at, {"after"})


@pytest.mark.fault(20)
@pytest.mark.semantics("Q-7")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_disk_that_is_full_at_the_start_is_read_and_drained(on_disk: Callable[..., Setting]) -> None:
    at = on_disk(2 * SMALL_DISK)
    expected = {f"inline/{number}": b"%d" % number for number in range(5)}
    expected |= {f"file/{number}": LARGE[number:] for number in range(5)}
    for key, body in expected.items():
        assert at.put(key, body) == 200
    at.daemon.kill()
    filler = at.disk.mount / "filler"
    fill_to_the_brim(filler)
    at.daemon.start()
    for key, body in expected.items():
        assert at.get(key) == body
    assert [at.put("refused/inline", b"x"), at.put("refused/file", LARGE)] == [503, 503]
    at.far.set(mode="pass")
    drained(at.daemon)
    assert remote_digests(at.far.remote, at.bucket) == {key: digest(body) for key, body in expected.items()}
    filler.unlink()
    wait_until(lambda: at.put("after", b"1") == 200)


def fill_to_the_brim(filler: Path) -> None:
    """Write a file until not a byte is left on its disk."""
    with filler.open("wb", buffering=0) as file:
        for block in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(block)) == block:
                    pass
        os.fsync(file.fileno())


@pytest.mark.fault(26)
@pytest.mark.semantics("Q-7")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_without_inodes_writes_are_refused_and_reads_and_the_drain_go_on(on_disk: Callable[..., Setting]) -> None:
    at = on_disk(SMALL_DISK, "-N", "64")
    fill_up(at, LARGE[:20_000])
    # A body in the row needs none.
    assert at.put("inline", b"1") == 200
    at.far.set(mode="pass")
    drained(at.daemon)
    assert at.put("after", LARGE) == 200
    drained(at.daemon)
    assert_delivered(at, {"inline", "after"})


def fill_up(at: Setting, body: bytes) -> None:
    """Put until it is refused, and see that what was refused has left nothing and what was taken can be read."""
    taken = 0
    while at.put(f"key/{taken}", taken.to_bytes(4, "big") + body) == 200:
        taken += 1
    assert taken > 3
    files = bodies(at.daemon)
    status, document = ask(at.daemon, "PUT", "refused", body, bucket=at.bucket)
    assert (status, b"<Code>SlowDown</Code>" in document) == (503, True)
    assert bodies(at.daemon) == files
    assert pending(at.daemon) == taken
    for number in range(taken):
        assert at.get(f"key/{number}") == number.to_bytes(4, "big") + body
    assert http_status(f"{at.daemon.metrics_endpoint}/healthz") == 200


def assert_delivered(at: Setting, further: set[str]) -> None:
    """The remote has what was taken, byte for byte, and nothing else."""
    client = at.far.remote.client()
    entries = client.list_objects_v2(Bucket=at.bucket)["Contents"]
    keys = {entry["Key"] for entry in entries}
    assert {key for key in keys if not key.startswith("key/")} == further
    for key in keys - further:
        body = client.get_object(Bucket=at.bucket, Key=key)["Body"].read()
        assert body[:4] == int(key.removeprefix("key/")).to_bytes(4, "big")
        assert LARGE.startswith(body[4:])
    assert {f"key/{number}" for number in range(len(keys - further))} == keys - further


@pytest.mark.fault(26)
@pytest.mark.semantics("Q-7")
def test_without_descriptors_writes_are_refused_and_resume(lonely: Daemon) -> None:
    # One connection for all of it: another one would need a descriptor.
    connection = http.client.HTTPConnection("127.0.0.1", lonely.port, timeout=60)

    def request(method: str, key: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection.request(method, f"/photos/{key}", body=body)
        answer = connection.getresponse()
        return answer.status, answer.read()

    assert request("PUT", "inline", b"1")[0] == request("PUT", "file", LARGE)[0] == 200
    pid = lonely.process.pid
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # Others than the door may have one open for a moment.
    lowest = min(lowest_free(pid) for _ in range(100))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, limit[1]))
    assert request("GET", "file")[0] == 503
    assert request("GET", "inline") == (200, b"1")
    assert request("PUT", "another", b"2")[0] == 200
    assert request("PUT", "refused", LARGE)[0] == 503
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    connection.close()
    assert held(lonely, "file") == LARGE
    assert put(lonely, "after", LARGE) == 200
    assert held(lonely, "refused") == NOTHING
    lonely.kill()
    lonely.start()
    assert [held(lonely, key) for key in ("inline", "file", "another", "after")] == [b"1", LARGE, b"2", LARGE]


def lowest_free(pid: int) -> int:
    """The number that the next descriptor of a process gets."""
    taken = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in itertools.count() if number not in taken)


@pytest.mark.fault(25)
@pytest.mark.semantics("D-3")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_on_a_read_only_file_system_writes_are_refused_and_reads_are_served(on_disk: Callable[..., Setting]) -> None:
    at = on_disk()
    assert at.put("inline", b"1") == at.put("file", LARGE) == 200
    run("mount", "-o", "remount,abort", at.disk.mount)
    assert [at.put("refused/file", LARGE), at.put("refused/inline", b"2")] == [503, 503]
    assert http_status(f"{at.daemon.metrics_endpoint}/readyz") == 503
    assert http_status(f"{at.daemon.metrics_endpoint}/healthz") == 200
    assert (at.get("inline"), at.get("file")) == (b"1", LARGE)
    assert at.daemon.running
    at.daemon.kill()
    run("umount", at.disk.mount)
    run("mount", "-o", "loop", at.disk.image, at.disk.mount)
    at.daemon.start()
    assert (at.get("inline"), at.get("file")) == (b"1", LARGE)
    at.far.set(mode="pass")
    drained(at.daemon)
    assert {entry["Key"] for entry in at.far.remote.client().list_objects_v2(Bucket=at.bucket)["Contents"]} == {
        "inline",
        "file",
    }


@pytest.mark.fault(30)
def test_where_each_sync_takes_two_seconds_health_answers_and_writers_share_a_commit(
    lonely: Daemon, tmp_path: Path
) -> None:
    writers = 40
    assert put(lonely, "first", b"1") == 200
    before = commits(lonely)
    slow = fault("fsync,fdatasync", "delay_enter=2000000")
    with traced(lonely.process, tmp_path / "trace", *slow), ThreadPoolExecutor(writers) as pool:
        puts = [pool.submit(put, lonely, f"key/{number}", b"%d" % number) for number in range(writers)]
        answers = 0
        while not any(each.done() for each in puts):
            assert http_status(f"{lonely.metrics_endpoint}/healthz") == 200
            answers += 1
        assert [each.result() for each in puts] == [200] * writers
    # Many answers in the time of one sync, and a few syncs for many writers.
    assert answers >= 10
    assert commits(lonely) - before <= 5


def commits(daemon: Daemon) -> float:
    """How many commits the daemon has made."""
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=30) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("s3d_store_commits_total "):
                return float(line.split()[-1])
    raise AssertionError("no commits are counted")


@pytest.mark.fault(28)
@pytest.mark.semantics("D-4")
def test_damage_to_the_database_is_said_and_no_key_is_answered_wrongly(lonely: Daemon, tmp_path: Path) -> None:
    expected: dict[str, bytes | str] = {}
    for number in range(40):
        expected[f"inline/{number:02}"] = choose.randbytes(3000)
    expected |= {f"file/{number}": LARGE[number:] for number in range(3)}
    for key, body in expected.items():
        assert put(lonely, key, body) == 200  # type: ignore[arg-type]
    lonely.settings["S3D_DRAIN_SECONDS"] = "0"
    assert lonely.terminate() == 75
    files = bodies(lonely)
    whole = tmp_path / "whole"
    shutil.copytree(lonely.local_dir, whole, ignore=shutil.ignore_patterns("*.sock"))
    size = (whole / "queue" / "queue.db").stat().st_size
    outcomes = []
    for page in range(0, size // 4096, max(1, size // 4096 // DAMAGED)):
        shutil.rmtree(lonely.local_dir)
        shutil.copytree(whole, lonely.local_dir)
        with (lonely.local_dir / "queue" / "queue.db").open("r+b") as database:
            database.seek(4096 * page)
            database.write(random.Random(page).randbytes(4096))
        outcomes.append(look(lonely, expected))
        assert bodies(lonely) == files, f"page {page}"
    print(outcomes)


def look(daemon: Daemon, expected: dict[str, bytes | str]) -> str:
    """Start on a damaged local dir; each key is answered as it was acknowledged or with 503, or there is no start."""
    daemon.start(ready=False)
    wait_until(lambda: not daemon.running or put(daemon, "one more", b"") != 0)
    if not daemon.running:
        assert daemon.process.wait() != 0
        assert "queue.db" in daemon.output()
        return "refused"
    answers = {key: ask(daemon, "GET", key) for key in expected}
    daemon.kill()
    for key, (status, body) in answers.items():
        is_true = status == 200 and body == expected[key]
        assert is_true or (status == 503 and b"is away" not in body), f"{key}: {status} {body[:300]!r}"
    return f"{sum(status == 200 for status, _ in answers.values())} of {len(answers)}"


@pytest.mark.fault(28)
@pytest.mark.semantics("D-4")
@pytest.mark.parametrize("damage", ["log deleted", "database empty", "database deleted", "database cut"])
def test_a_database_without_its_other_half_is_no_empty_queue(lonely: Daemon, damage: str) -> None:
    assert put(lonely, "inline", b"1") == put(lonely, "file", LARGE) == 200
    files = bodies(lonely)
    lonely.kill()
    database, log = lonely.local_dir / "queue" / "queue.db", lonely.local_dir / "queue" / "queue.db-wal"
    aside = lonely.directory / "aside"
    shutil.copytree(lonely.local_dir / "queue", aside)
    match damage:
        case "log deleted":
            log.unlink()
        case "database empty":
            os.truncate(database, 0)
        case "database deleted":
            database.unlink()
        case "database cut":
            os.truncate(database, 6000)
    lonely.settings["S3D_LOG_FORMAT"] = "text"
    lonely.start(ready=False)
    wait_until(lambda: not lonely.running or http_status(f"{lonely.metrics_endpoint}/readyz") == 200)
    if lonely.running:
        assert damage == "database cut"
        # The pages that are gone stand in the log.
        assert (held(lonely, "inline"), held(lonely, "file")) == (b"1", LARGE)
        return
    assert lonely.process.wait() == 2
    assert "queue.db" in lonely.output()
    assert bodies(lonely) == files
    # What was there is found again once the other half is back.
    for name in (database.name, log.name):
        shutil.copy(aside / name, database.with_name(name))
    lonely.start()
    assert (held(lonely, "inline"), held(lonely, "file")) == (b"1", LARGE)
