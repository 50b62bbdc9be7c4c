"""The read cache dies at any call of a fill, a drop, a hand-over or an eviction, and the power fails behind a drop: no
old version is ever read afterwards (SEMANTICS, section C).

strace kills the daemon at the n-th call of a kind. It starts again while the remote is away, so that only its own disk
can answer, and is asked again when the remote is back.
"""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from e2e.chaos.conftest import ALTERED
from e2e.chaos.disks import mounted, new_disk, run
from e2e.chaos.requests import ask, ends, wait_until
from e2e.chaos.test_sweep import fault
from e2e.chaos.tracing import traced
from tests.daemons import ROOT, Daemon, StartDaemon
from tests.relays import AWAY, Relay
from tests.remotes import Remote

HERE = Path(__file__).parent
MODULES = str(ROOT / "sidecar")
SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
BLOCK = 1 << 20
OLD, NEW = bytes([1]) * (2 * BLOCK + 5), bytes([2]) * (2 * BLOCK + 7)
CACHED = {"S3D_READ_CACHE": "true"}
THROUGH = {**CACHED, "S3D_WRITE_QUEUE": "false"}
SMALL = {"S3D_READ_CACHE_MAX_SIZE": "3MiB"}
UNAVAILABLE = 503

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(900 + SOAK_HOURS * 3600),
    pytest.mark.parametrize("remote", ["versitygw"], indirect=True),
]


@dataclass(frozen=True, slots=True)
class Work:
    """What the daemon dies in."""

    settings: dict[str, str]
    cached: str
    """What is cached before: the `same` object, or an `other`."""
    method: str
    calls: tuple[str, ...]
    """Kinds of calls by which it changes the disk."""


WORK = {
    "fill": Work(THROUGH, "", "GET", ("openat", "fallocate", "pwrite64", "fdatasync")),
    "drop": Work(THROUGH, "same", "PUT", ("pwrite64", "fdatasync", "unlinkat")),
    "hand-over": Work(CACHED, "same", "PUT", ("linkat", "pwrite64", "fdatasync", "unlinkat")),
    # There is room for one object.
    "eviction": Work({**THROUGH, **SMALL}, "other", "GET", ("pwrite64", "fdatasync", "unlinkat")),
}


def numbers() -> Iterable[int]:
    """Which calls of a kind a daemon dies at: some, or each one in a soak."""
    return itertools.count(1) if SOAK_HOURS else (1, 3)


@pytest.mark.fault(56)
@pytest.mark.semantics("C-1", "C-9", "C-11")
@pytest.mark.parametrize("name", WORK)
def test_a_cache_that_dies_at_any_call_never_answers_with_an_old_version(
    name: str, remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    work, far, there = WORK[name], relay(remote), remote.client()
    altered = {**ALTERED, "S3D_E2E_ALTER": "s3d.store.threads.MAX_THREADS=1"}
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, **AWAY, **altered, **work.settings)
    deaths: dict[str, int] = {}
    for call in work.calls:
        for number in numbers():
            key = f"{call}/{number}"
            keys = {"same": key, "other": f"other/{key}"}
            for one in keys.values():
                there.put_object(Bucket=bucket, Key=one, Body=OLD)
            if work.cached:
                assert answered(daemon, bucket, keys[work.cached]) == OLD
                wait_until(lambda: is_filled(daemon))
            with traced(daemon.process, tmp_path / "trace", *fault(call, f"signal=KILL:when={number}")):
                status = ask(daemon, work.method, key, NEW if work.method == "PUT" else None, bucket=bucket)[0]
                wait_until(lambda: is_at_rest(daemon, filled=work.method == "GET"))
                ends(daemon)
            if daemon.running:
                break
            deaths[call] = deaths.get(call, 0) + 1
            far.set(mode="refuse")
            daemon.start()
            may_be_new = work.method == "PUT" and "S3D_WRITE_QUEUE" not in work.settings
            is_new = work.method == "PUT" and status == 200
            judge(daemon, remote, bucket, key, is_new=is_new, may_be_new=may_be_new)
            judge(daemon, remote, bucket, keys["other"], is_new=False, may_be_new=False)
            far.set(mode="pass")
            for one in keys.values():
                wait_until(partial(is_newest, daemon, remote, bucket, one))
                assert is_newest(daemon, remote, bucket, one), one
            assert not is_new or answered(daemon, bucket, key) == NEW
    print(f"{name}: died at {sum(deaths.values())} calls: {deaths}")
    assert deaths


def judge(daemon: Daemon, remote: Remote, bucket: str, key: str, *, is_new: bool, may_be_new: bool) -> None:
    """What a daemon holds of a key while its remote is away is no older than what was answered, or is there."""
    newest = remote.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    permitted = {UNAVAILABLE} | ({NEW} if is_new or may_be_new or newest == NEW else set())
    if not is_new and newest == OLD:
        permitted.add(OLD)
    assert answered(daemon, bucket, key) in permitted, key


def is_newest(daemon: Daemon, remote: Remote, bucket: str, key: str) -> bool:
    """Whether nothing is pending, and a daemon answers with what its remote has."""
    newest = remote.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    return is_at_rest(daemon) and answered(daemon, bucket, key) == newest


def answered(daemon: Daemon, bucket: str, key: str) -> bytes | int:
    """The bytes of an object, or the status of a refusal."""
    status, body = ask(daemon, "GET", key, bucket=bucket)
    return body if status == 200 else status


def is_filled(daemon: Daemon) -> bool:
    """Whether something is cached."""
    return bool(daemon.status()["read_cache"]["entries"])


def is_at_rest(daemon: Daemon, *, filled: bool = False) -> bool:
    """Whether a daemon has ended, or has nothing more to push, and something cached where that is asked for."""
    try:
        status = daemon.status()
    except OSError:
        return True
    return not status["pending"]["changes"] and (not filled or bool(status["read_cache"]["entries"]))


@pytest.mark.power
@pytest.mark.fault(57)
@pytest.mark.semantics("C-9")
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_drop_outlives_a_power_cut_at_the_first_byte_of_its_change(
    cut: Callable[..., bytes | int], method: str
) -> None:
    assert cut(method) == UNAVAILABLE


@pytest.mark.power
@pytest.mark.fault(5)
def test_an_old_version_comes_back_where_the_index_does_not_sync(cut: Callable[..., bytes | int]) -> None:
    assert cut("PUT", PYTHONPATH=f"{HERE / 'unsynced'}:{MODULES}") == OLD


@pytest.fixture
def cut(remote: Remote, bucket: str, relay: Relay, tmp_path: Path) -> Callable[..., bytes | int]:
    """Have an object cached, cut the power when the first byte of its change has come to the remote, and read it on
    what is left, without the remote."""

    def cut_power(method: str, **settings: str) -> bytes | int:
        far, left, body = relay(remote), tmp_path / "left", NEW if method == "PUT" else None
        remote.client().put_object(Bucket=bucket, Key="k", Body=OLD)
        daemon = Daemon(tmp_path, {**far.remote.environment, "S3D_BUCKETS": bucket, **THROUGH, **settings})
        try:
            with new_disk(tmp_path / "image", tmp_path / "local") as disk:
                assert answered(daemon.start(), bucket, "k") == OLD
                wait_until(lambda: is_filled(daemon))
                # All of it is on the disk: only the drop may be missing there.
                run("sync", "-f", disk.mount)
                far.set(mode="silence")
                changing = threading.Thread(target=ask, args=(daemon, method, "k", body), kwargs={"bucket": bucket})
                changing.start()
                wait_until(lambda: far.set()["in_flight"] > 0)
                daemon.process.signal(signal.SIGSTOP)
                disk.copy(left)
                daemon.kill()
                far.set(mode="refuse")
                changing.join()
            with mounted(left, tmp_path / "local"):
                daemon = replace(daemon, program=None, settings={**daemon.settings, "PYTHONPATH": MODULES})
                return answered(daemon.start(), bucket, "k")
        finally:
            daemon.kill()

    return cut_power
