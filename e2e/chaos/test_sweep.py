"""Every system call of a write fails once, and once the process dies at it: nothing answered is lost or torn.

strace injects at the n-th call of each kind, n rising until a write completes untouched. The remote is away, so that
answers come from the local dir alone.
"""

import itertools
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.chaos.requests import DELETED, NOTHING, OK, ask, ends, held, wait_until
from e2e.chaos.tracing import INJECTED, calls_on, traced
from tests.daemons import Daemon
from tests.processes import http_status

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
STRIDES = {} if SOAK_HOURS else {"pwrite64": 5, "writev": 3, "write": 4}
"""Of the writes of pages and blocks and of the wake-ups, which are many and alike, every so many-th is swept."""
# What a write calls in the local dir to change it.
BODY_CALLS = ("openat", "fallocate", "writev", "fadvise64", "fsync", "linkat")
LOG_CALLS = ("pwrite64", "fdatasync")
# Wakes the loop and sends the answer; libuv gives up where it fails, so it is only killed at.
ANSWER_CALLS = ("write",)
# Deletes a body that nothing refers to any more, beside all answers.
DELETION_CALLS = frozenset(["unlinkat"])
# What changes nothing on the disk.
READ_CALLS = frozenset(
    "access close fcntl fstat fstatfs getdents64 getxattr lseek lstat mmap munmap newfstatat pread64 read readlink "
    "readlinkat stat statx".split()
)


@dataclass(frozen=True, slots=True)
class Write:
    """One write: what the local dir holds of the key before, and after."""

    before: bytes | str
    after: bytes | str
    calls: tuple[str, ...]

    def send(self, daemon: Daemon, key: str) -> int:
        """Make it; the status, or 0 without an answer."""
        if isinstance(self.after, bytes):
            return ask(daemon, "PUT", key, self.after)[0]
        return ask(daemon, "DELETE", key)[0]


choose = random.Random(0)
SMALL, LARGE, OTHER = choose.randbytes(4000), choose.randbytes((8 << 20) + 40_000), choose.randbytes(40_000)
WRITES = {
    "put inline": Write(NOTHING, SMALL, LOG_CALLS),
    "put file": Write(OTHER, LARGE, BODY_CALLS + LOG_CALLS),
    "delete": Write(OTHER, DELETED, LOG_CALLS),
}
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900 + SOAK_HOURS * 3600)]


@pytest.mark.fault(2)
@pytest.mark.semantics("D-1")
@pytest.mark.semantics("Q-13")
@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_dies_at_any_call_is_there_in_whole_or_not_at_all(
    name: str, lonely: Daemon, tmp_path: Path
) -> None:
    write = WRITES[name]
    kept: dict[str, bytes | str] = {}
    reached = set()
    for call in (*write.calls, *ANSWER_CALLS):
        for number in itertools.count(1, STRIDES.get(call, 1)):
            key = f"{call}/{number}"
            prepare(lonely, key, write)
            with traced(lonely.process, tmp_path / "trace", *fault(call, f"signal=KILL:when={number}")):
                answered = write.send(lonely, key) in OK
                ends(lonely)
            # Only now: it may have died while it was let go of.
            died = not lonely.running
            if died:
                lonely.start()
                reached.add(call)
            found = held(lonely, key)
            assert found == write.after if answered else found in (write.before, write.after), key
            kept[key] = found
            if not died:
                break
    assert reached == {*write.calls, *ANSWER_CALLS}
    print(f"{name}: died at {len(kept) - len(reached)} calls: {sorted(kept)}")
    assert {key: held(lonely, key) for key in kept} == kept


@pytest.mark.fault(22)
@pytest.mark.fault(24)
@pytest.mark.semantics("D-3")
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_call_fails_is_refused_and_the_next_one_is_taken(
    name: str, error: str, lonely: Daemon, tmp_path: Path
) -> None:
    write = WRITES[name]
    kept: dict[str, bytes | str] = {}
    reached = set()
    for call in write.calls:
        for number in itertools.count(1, STRIDES.get(call, 1)):
            key = f"{call}/{number}"
            prepare(lonely, key, write)
            files = bodies(lonely)
            with traced(lonely.process, tmp_path / "trace", *fault(call, f"error={error}:when={number}")) as trace:
                status = write.send(lonely, key)
            if INJECTED not in trace.read_text():
                break
            reached.add(call)
            assert status in (*OK, 503), key
            found = held(lonely, key)
            assert found == write.after if status in OK else found in (write.before, write.after), key
            if status == 503 and call in BODY_CALLS:
                assert found == write.before, key
                assert bodies(lonely) <= files, f"{key}: the file of a refused write is left"
            kept[key] = write.after
            send_again(lonely, key, write)
    assert reached == set(write.calls)
    print(f"{name}: {error} at {len(kept)} calls: {sorted(kept)}")
    assert {key: held(lonely, key) for key in kept} == kept
    lonely.kill()
    lonely.start()
    assert {key: held(lonely, key) for key in kept} == kept


@pytest.mark.fault(24)
@pytest.mark.semantics("D-3")
def test_after_a_failed_sync_of_the_log_nothing_is_answered_before_it_has_been_opened_anew(
    lonely: Daemon, tmp_path: Path
) -> None:
    assert ask(lonely, "PUT", "before", SMALL)[0] == 200
    with traced(lonely.process, tmp_path / "trace", *fault("fdatasync,fsync", "error=EIO")):
        assert [ask(lonely, "PUT", f"during/{number}", SMALL)[0] for number in range(5)] == [503] * 5
        assert http_status(f"{lonely.metrics_endpoint}/readyz") == 503
        assert held(lonely, "before") == SMALL
        assert "is open again" not in lonely.output()
    send_again(lonely, "after", WRITES["put inline"])
    assert "is open again" in lonely.output()
    assert http_status(f"{lonely.metrics_endpoint}/readyz") == 200
    lonely.kill()
    lonely.start()
    assert (held(lonely, "before"), held(lonely, "after")) == (SMALL, SMALL)


@pytest.mark.fault(9)
@pytest.mark.semantics("D-2", "D-2a")
def test_a_body_whose_row_was_never_committed_is_not_served_and_goes_after_a_while(
    lonely: Daemon, tmp_path: Path
) -> None:
    with traced(lonely.process, tmp_path / "trace", *fault("fsync", "signal=KILL:when=2")):
        assert ask(lonely, "PUT", "key", LARGE)[0] == 0
        assert ends(lonely, 30)
    orphans = bodies(lonely)
    assert len(orphans) == 1
    lonely.start()
    assert (held(lonely, "key"), lonely.status()["pending"]["changes"]) == (NOTHING, 0)
    assert ask(lonely, "PUT", "other", OTHER)[0] == 200
    lonely.kill()
    lonely.settings["S3D_E2E_ALTER"] = "s3d.layers.queue.layer.ORPHAN_GRACE_SECONDS=0"
    lonely.start()
    wait_until(lambda: orphans.isdisjoint(bodies(lonely)))
    assert (held(lonely, "key"), held(lonely, "other")) == (NOTHING, OTHER)


@pytest.mark.fault(2)
@pytest.mark.semantics("D-2b")
def test_a_body_whose_deletion_dies_is_deleted_after_the_next_start(lonely: Daemon, tmp_path: Path) -> None:
    send_again(lonely, "key", Write(NOTHING, OTHER, ()))
    freed = bodies(lonely)
    assert len(freed) == 1
    with traced(lonely.process, tmp_path / "trace", *fault("unlinkat", "signal=KILL:when=1")):
        assert ask(lonely, "DELETE", "key")[0] in OK
        assert ends(lonely, 30)
    assert bodies(lonely) == freed
    lonely.start()
    wait_until(lambda: not bodies(lonely))
    assert held(lonely, "key") == DELETED


@pytest.mark.parametrize("name", WRITES)
def test_the_sweep_knows_every_call_by_which_a_write_changes_the_local_dir(
    name: str, lonely: Daemon, tmp_path: Path
) -> None:
    write = WRITES[name]
    prepare(lonely, "key", write)
    with traced(lonely.process, tmp_path / "trace", "-e", "trace=%file,%desc") as trace:
        assert write.send(lonely, "key") in OK
    # The file of what it replaces may be deleted in time to be seen; that has a test of its own.
    assert calls_on(trace, lonely.local_dir) - READ_CALLS - DELETION_CALLS == set(write.calls)


def fault(call: str, what: str) -> tuple[str, ...]:
    """The options of strace that inject a fault into one kind of call."""
    return "-e", f"trace={call}", "-e", f"inject={call}:{what}"


def prepare(daemon: Daemon, key: str, write: Write) -> None:
    """Give a key what it holds before the write."""
    if write.before != NOTHING:
        send_again(daemon, key, Write(NOTHING, write.before, ()))


def send_again(daemon: Daemon, key: str, write: Write, seconds: float = 60) -> None:
    """Make a write until it is taken: a log that failed is opened anew first, which takes a moment."""
    end = time.monotonic() + seconds
    while (status := write.send(daemon, key)) not in OK:
        assert status == 503
        assert time.monotonic() < end, "writes are not taken again"
        time.sleep(0.1)


def bodies(daemon: Daemon) -> set[str]:
    """The files of bodies."""
    return {path.name for path in (daemon.local_dir / "queue" / "bodies").iterdir() if path.is_file()}
