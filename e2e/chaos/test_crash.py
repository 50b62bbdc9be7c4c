"""What a process leaves behind that ends in the middle of something, and what a disk makes of it: torn writes, a change
that the remote has and the tables do not, half a checkpoint, half a migration, a lock.
"""

import itertools
import os
import random
import secrets
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from e2e.chaos.requests import NOTHING, OK, ask, drained, ends, held, pending, put, wait_until
from e2e.chaos.test_sweep import bodies, fault
from e2e.chaos.tracing import find_strace, traced
from s3d.layers.queue.rows import lookups
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.store.db import Database
from tests.daemons import ROOT, Daemon, StartDaemon
from tests.processes import start
from tests.relays import Relay
from tests.remotes import Remote

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
SECTOR = 512
TEARS = 200 if SOAK_HOURS else 12
STRIDES = {} if SOAK_HOURS else {"pwrite64": 8}
LARGE = random.Random(0).randbytes(300_000)
VERSION_1 = ROOT / "tests" / "sidecar" / "layers" / "queue" / "rows" / "version_1.sql"
OPENS = """import pathlib, sys
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.store.db import Database
Database.open(pathlib.Path(sys.argv[1]), SCHEMA)
"""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900 + SOAK_HOURS * 3600)]


@pytest.mark.fault(7)
@pytest.mark.semantics("D-1")
def test_a_torn_write_of_the_log_costs_the_unanswered_change_and_no_other(lonely: Daemon, tmp_path: Path) -> None:
    seed = os.environ.get("S3D_E2E_SEED") or secrets.token_hex(4)
    print(f"seed {seed}")
    choose = random.Random(seed)
    assert put(lonely, "answered", b"1" * 4000) == put(lonely, "file", LARGE) == 200
    log = lonely.local_dir / "queue" / "queue.db-wal"
    synced = log.stat().st_size
    with traced(lonely.process, tmp_path / "trace", *fault("fdatasync,fsync", "signal=KILL:when=1")):
        assert put(lonely, "unanswered", b"2" * 12_000) == 0
        assert ends(lonely, 30)
    written = log.read_bytes()
    sectors = range(synced, len(written), SECTOR)
    assert len(sectors) > 20
    whole = tmp_path / "whole"
    shutil.copytree(lonely.local_dir, whole, copy_function=shutil.copy2, ignore=shutil.ignore_patterns("*.sock"))
    found = []
    for number in range(TEARS):
        # Those sectors did not reach the disk: it may write them in any order.
        missing = set(choose.sample(sectors, choose.randrange(1, len(sectors)))) if number else set()
        torn = bytearray(written)
        for at in missing:
            torn[at : at + SECTOR] = bytes(len(torn[at : at + SECTOR]))
        if number % 2:
            del torn[min(missing) :]
        log.write_bytes(torn)
        lonely.start()
        assert (held(lonely, "answered"), held(lonely, "file")) == (b"1" * 4000, LARGE)
        found.append(held(lonely, "unanswered"))
        assert found[-1] in (NOTHING, b"2" * 12_000)
        lonely.kill()
        shutil.rmtree(lonely.local_dir)
        shutil.copytree(whole, lonely.local_dir)
    # All of it reached the disk the first time.
    assert found[0] != NOTHING
    assert NOTHING in found


@pytest.mark.fault(7)
@pytest.mark.semantics("D-4")
@pytest.mark.parametrize("size", [0, SECTOR, len(LARGE) - 1])
def test_a_torn_body_is_set_aside_and_never_served(lonely: Daemon, size: int) -> None:
    assert put(lonely, "torn", LARGE) == put(lonely, "whole", LARGE) == 200
    lonely.kill()
    torn = min(bodies(lonely))
    path = lonely.local_dir / "queue" / "bodies" / torn
    path.write_bytes(path.read_bytes()[:size])
    lonely.start()
    status, document = ask(lonely, "GET", "torn")
    assert (status, b"damaged on the local dir" in document) == (503, True)
    assert held(lonely, "whole") == LARGE
    assert put(lonely, "torn", b"new") == 200
    assert held(lonely, "torn") == b"new"


@pytest.mark.fault(10)
@pytest.mark.semantics("Q-3")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_what_the_remote_took_before_a_kill_is_pushed_again_and_is_one_object(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    far = relay(remote)
    far.set(mode="drop", only=["PUT"])
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket)
    keys = {"inline": b"1" * 4000, "file": LARGE}
    for key, body in keys.items():
        assert put(daemon, key, body, bucket=bucket) == 200
    client = remote.client()
    wait_until(lambda: client.list_objects_v2(Bucket=bucket)["KeyCount"] == 2)
    daemon.kill()
    sent = far.set(mode="pass")["requests"]
    daemon.start()
    drained(daemon)
    assert far.set()["requests"] >= sent + 2
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert {entry["Key"]: client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read() for entry in listed} == keys


@pytest.mark.fault(13)
@pytest.mark.semantics("Q-13")
def test_a_checkpoint_that_dies_at_any_call_loses_nothing(lonely: Daemon, tmp_path: Path) -> None:
    kept: dict[str, bytes | str] = {}
    lonely.settings["S3D_DRAIN_SECONDS"] = "0"
    reached = {}
    for call in ("pwrite64", "fsync", "fdatasync", "ftruncate"):
        for number in itertools.count(1, STRIDES.get(call, 1)):
            if not lonely.running:
                lonely.start()
            for size in (2000, 20_000):
                key = f"{call}/{number}/{size}"
                kept[key] = body = key.encode() * (size // len(key))
                assert put(lonely, key, body) in OK
            with traced(lonely.process, tmp_path / "trace", *fault(call, f"signal=KILL:when={number}")):
                died = lonely.terminate() < 0
            if not died:
                break
            reached[call] = number
            lonely.start()
            assert {key: held(lonely, key) for key in kept} == kept, f"{call} {number}"
    print(f"checkpoints died at {reached}")
    lonely.start()
    assert {key: held(lonely, key) for key in kept} == kept
    # The pages go into the database, it is synced, and the log is cut to nothing.
    assert {"pwrite64", "ftruncate"} <= set(reached)
    assert {"fsync", "fdatasync"} & set(reached)


@pytest.mark.fault(13)
@pytest.mark.semantics("D-9")
async def test_a_migration_that_dies_at_any_call_loses_nothing(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    make_version_1(old)
    reached = {}
    for call in ("pwrite64", "fsync", "fdatasync", "ftruncate"):
        for number in itertools.count(1, STRIDES.get(call, 1)):
            path = tmp_path / f"{call}-{number}.db"
            shutil.copy(old, path)
            shutil.copy(f"{old}-wal", f"{path}-wal")
            died = migrate(path, f"inject={call}:signal=KILL:when={number}") < 0
            migrated = Database.open(path, SCHEMA)
            found = [lookups.visible(migrated, "b", f"k{number}") for number in range(100)]
            assert [change.inline for change in found if change] == [b"%d" % number for number in range(100)]
            await migrated.close()
            if not died:
                break
            reached[call] = number
    print(f"migrations died at {reached}")
    assert {"pwrite64", "ftruncate"} <= set(reached)
    assert {"fsync", "fdatasync"} & set(reached)


@pytest.mark.fault(15)
@pytest.mark.semantics("D-8")
def test_a_second_daemon_on_a_local_dir_refuses_and_a_killed_one_leaves_no_lock(
    lonely: Daemon, start_daemon: StartDaemon
) -> None:
    second = replace(lonely, directory=lonely.directory / "second", program=None)
    second.directory.mkdir()
    second.settings = {**lonely.settings, "S3D_LOCAL_DIR": str(lonely.local_dir), "S3D_LOG_FORMAT": "text"}
    second.start(ready=False)
    assert second.process.wait(60) == 2
    assert f"in use by another s3d (pid {lonely.process.pid} " in second.output()
    assert put(lonely, "key", b"1") == 200
    lonely.kill()
    second.start()
    assert (held(second, "key"), pending(second)) == (b"1", 1)
    second.kill()


def make_version_1(path: Path) -> None:
    """A database as version 1 left it, killed: part of it is in its log."""
    db = apsw.Connection(str(path))
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.pragma("journal_mode", "WAL")
    db.execute(VERSION_1.read_text())
    db.execute("PRAGMA user_version = 1")
    for number in range(100):
        db.execute(
            """INSERT INTO change (bucket, key, op, state, size, etag, acked_at, next_at, inline)
            VALUES ('b', ?, 'put', 'waiting', 2, 'e', 1.0, 2.0, ?)""",
            (f"k{number}", b"%d" % number),
        )
    db.close()


def migrate(path: Path, fault: str) -> int:
    """Open a database of an older version in a process of its own; its exit code."""
    only = [word for name in (path, f"{path}-wal", f"{path}-shm", path.parent) for word in ("-P", str(name))]
    # strace ends as its program did.
    command = [find_strace(), "-f", "-o", "/dev/null", "-e", "trace=pwrite64,fsync,fdatasync,ftruncate", "-e", fault]
    opens: list[str | Path] = [sys.executable, "-c", OPENS, path]
    program = start([*command, *only, *opens], path.with_suffix(".log"), {"PYTHONPATH": str(ROOT / "sidecar")})
    code = program.wait(60)
    assert code in (0, -9), program.output()
    return code
