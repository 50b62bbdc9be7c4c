"""The network and the remote fail in every way that they have: what was acknowledged arrives when they are well again,
byte for byte, and nothing else does.
"""

import contextlib
import hashlib
import http.client
import json
import os
import random
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from e2e.chaos.authorities import Authority
from e2e.chaos.clocks import Clock
from e2e.chaos.requests import OK, ask, digest, drained, pending, put, states, wait_until
from e2e.chaos.test_kill import remote_digests
from e2e.compat import streams
from tests.daemons import Daemon, StartDaemon
from tests.relays import Faults, Relay
from tests.remotes import Remote

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
LARGE = random.Random(0).randbytes(3_000_000)
MUCH = 1_000_000_000 if SOAK_HOURS else 200_000_000
ROUNDS = 10_000 if SOAK_HOURS else 250

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600 + SOAK_HOURS * 3600),
    pytest.mark.parametrize("remote", ["versitygw"], indirect=True),
]


def newest(daemon: Daemon, key: str, bucket: str) -> dict[str, Any]:
    """The newest change of a key, as `s3d status` shows it."""
    shown = daemon.cli("status", "--json", f"{bucket}/{key}")
    assert shown.returncode == 0, shown.stderr
    change: dict[str, Any] = json.loads(shown.stdout)["changes"][-1]
    return change


BAD_NETWORKS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "latency": ({"delay": 5.0}, []),
    "low bandwidth": ({"bandwidth": 10_000}, []),
    "black hole": ({"mode": "silence"}, []),
    "reset in the body": ({}, [{"method": "PUT", "reset_at": 2000}]),
    "slices": ({}, [{"slice": 997}]),
}


@pytest.mark.fault(34)
@pytest.mark.semantics("Q-8")
@pytest.mark.parametrize("name", BAD_NETWORKS)
def test_a_bad_network_loses_nothing_and_holds_no_worker_for_ever(
    name: str, remote: Remote, bucket: str, relay: Relay, faults: Faults, start_daemon: StartDaemon
) -> None:
    bad, rules = BAD_NETWORKS[name]
    proxy = faults(remote)
    far = relay(proxy.remote)
    slow = name in ("latency", "low bandwidth")
    settings = {"S3D_AWAY_AFTER": "20s"} if slow else {"S3D_AWAY_AFTER": "1s", "S3D_REQUEST_TIMEOUT": "3s"}
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, **settings)
    expected = (
        {"first": LARGE[:5_000]}
        | {f"key/{number}": LARGE[number : number + 20_000] for number in range(20)}
        | {"large": LARGE}
    )
    far.set(**bad)
    proxy.set(*rules)
    for key, body in expected.items():
        assert put(daemon, key, body, bucket=bucket) == 200
    if name in ("reset in the body", "black hole"):
        # Each attempt ends by its deadline, and the workers are free for the next ones.
        wait_until(lambda: "pushing" not in states(daemon) and sum(states(daemon).values()) == len(expected))
    else:
        wait_until(lambda: pending(daemon) < len(expected))
    far.set(mode="pass", delay=0.0, bandwidth=0)
    proxy.set()
    drained(daemon)
    assert remote_digests(remote, bucket) == {key: digest(body) for key, body in expected.items()}


@pytest.mark.fault(35)
@pytest.mark.semantics("Q-8", "Q-8h")
def test_in_ten_minutes_of_slow_down_little_is_asked_and_nothing_is_parked(
    remote: Remote, bucket: str, faults: Faults, start_daemon: StartDaemon, clock: Clock
) -> None:
    far = faults(remote)
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, **clock.environment)
    changes = 20
    far.set({"method": "PUT", "status": 503, "code": "SlowDown"})
    for number in range(changes):
        assert put(daemon, f"key/{number}", b"%d" % number, bucket=bucket) == 200
    by_minute = []
    for _ in range(10):
        before = far.stats()["hits"][0]
        for _ in range(6):
            clock.jump(10)
            time.sleep(0.3)
        wait_until(lambda: far.stats()["hits"][0] > before)  # noqa: B023 (it is waited for here)
        by_minute.append(far.stats()["hits"][0] - before)
    print(f"pushes by minute: {by_minute}")
    assert states(daemon).keys() <= {"waiting", "pushing", "in_doubt"}
    assert pending(daemon) == changes
    # Of a lane that fails one change is tried at a time, with a pause of up to 5 s between them (Q-8h).
    assert min(by_minute) > 0
    assert max(by_minute[1:]) <= 12 < changes
    far.set()
    clock.jump(60)
    drained(daemon)
    assert len(remote_digests(remote, bucket)) == changes


@pytest.mark.fault(41)
@pytest.mark.semantics("Q-8")
def test_a_wrong_clock_is_named_and_nothing_is_lost(
    remote: Remote, bucket: str, start_daemon: StartDaemon, clock: Clock
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **clock.environment)
    assert put(daemon, "before", b"1", bucket=bucket) == 200
    drained(daemon)
    clock.set(-20 * 60)
    assert put(daemon, "key", b"2", bucket=bucket) == 200
    drained(daemon)
    # Whichever request met it first: a push, whose lane is paused then, or a look, which pauses nothing.
    assert "the remote's clock is +1" in daemon.output()
    clock.set(0)
    assert put(daemon, "key", b"3", bucket=bucket) == 200
    drained(daemon)
    assert remote_digests(remote, bucket) == {"before": digest(b"1"), "key": digest(b"3")}


@pytest.mark.fault(42)
@pytest.mark.semantics("Q-18", "Q-18a")
@pytest.mark.parametrize("mode", ["Overwrite", "Park"])
def test_what_somebody_else_writes_meanwhile_is_overwritten_aloud_or_both_are_kept(
    mode: str, remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, clock: Clock
) -> None:
    far, there = relay(remote), remote.client()
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_CONFLICT=mode, **clock.environment)
    for key in ("key", "deleted", "untouched"):
        assert put(daemon, key, b"before", bucket=bucket) == 200
    drained(daemon)
    far.set(mode="refuse")
    for key in ("key", "untouched"):
        assert put(daemon, key, b"ours", bucket=bucket) == 200
    assert ask(daemon, "DELETE", "deleted", bucket=bucket)[0] == 204
    for key in ("key", "deleted"):
        there.put_object(Bucket=bucket, Key=key, Body=b"foreign")
    clock.jump(10)
    far.set(mode="pass")
    kept = 2 if mode == "Park" else 0
    wait_until(lambda: pending(daemon) == kept and states(daemon).get("parked", 0) == kept)
    foreign = {} if mode == "Overwrite" else {"key": digest(b"foreign"), "deleted": digest(b"foreign")}
    assert remote_digests(remote, bucket) == {"key": digest(b"ours"), "untouched": digest(b"ours")} | foreign
    assert ask(daemon, "GET", "key", bucket=bucket) == (200, b"ours")
    warned = [line for line in daemon.output().splitlines() if "somebody else wrote the key" in line]
    assert len(warned) == 2
    assert all(digest(b"foreign") in line for line in warned)
    assert any(digest(b"ours") in line for line in warned)
    for key in ("key", "deleted") if kept else ():
        assert newest(daemon, key, bucket)["code"] == "Conflict"


@pytest.mark.fault(39)
@pytest.mark.semantics("Q-8")
def test_changes_of_a_bucket_that_was_deleted_wait_until_it_is_back(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    far = relay(remote)
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket)
    client = remote.client()
    assert put(daemon, "before", b"0", bucket=bucket) == 200
    drained(daemon)
    # While it is away nobody can know that the bucket goes.
    far.set(mode="refuse")
    client.delete_object(Bucket=bucket, Key="before")
    client.delete_bucket(Bucket=bucket)
    for number in range(10):
        assert put(daemon, f"key/{number}", b"%d" % number, bucket=bucket) == 200
    far.set(mode="pass")
    wait_until(lambda: newest(daemon, "key/0", bucket)["code"] == "NoSuchBucket")
    assert pending(daemon) == 10
    assert "parked" not in states(daemon)
    assert bucket not in [each["Name"] for each in client.list_buckets()["Buckets"]]
    client.create_bucket(Bucket=bucket)
    drained(daemon)
    assert remote_digests(remote, bucket) == {f"key/{number}": digest(b"%d" % number) for number in range(10)}


@pytest.mark.fault(44)
@pytest.mark.semantics("Q-8")
@pytest.mark.semantics("Q-9")
@pytest.mark.semantics("Q-10")
def test_one_change_that_the_remote_never_takes_holds_up_none_of_a_thousand(
    remote: Remote, bucket: str, faults: Faults, start_daemon: StartDaemon
) -> None:
    far = faults(remote)
    far.set({"method": "PUT", "path": "/poison", "status": 400, "code": "EntityTooLarge"})
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket)
    keys = ["poison", *(f"key/{number}" for number in range(999))]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda key: put(daemon, key, key.encode(), bucket=bucket), keys)) == {200}
    wait_until(lambda: states(daemon) == {"parked": 1}, 120)
    assert remote_digests(remote, bucket) == {key: digest(key.encode()) for key in keys[1:]}
    assert newest(daemon, "poison", bucket)["code"] == "EntityTooLarge"
    assert ask(daemon, "GET", "poison", bucket=bucket) == (200, b"poison")
    far.set()
    assert daemon.cli("queue", "retry", f"{bucket}/poison").returncode == 0
    drained(daemon)
    assert len(remote_digests(remote, bucket)) == 1000


@pytest.mark.fault(47)
@pytest.mark.semantics("Q-8")
@pytest.mark.parametrize("name", ["expired", "of another authority"])
def test_a_remote_with_a_bad_certificate_is_away_and_nothing_is_lost(
    name: str, remote: Remote, bucket: str, faults: Faults, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    trusted, other = Authority(tmp_path / "trusted"), Authority(tmp_path / "other")
    certificate, key = trusted.certify(days=-1) if name == "expired" else other.certify(days=30)
    bad = faults(remote, "--cert", certificate, "--key", key)
    daemon = start_daemon(bad.remote, S3D_BUCKETS=bucket, AWS_CA_BUNDLE=str(trusted.bundle))
    put_while_away(daemon, bucket)
    bad.program.kill()
    certificate, key = trusted.certify(days=30)
    faults(remote, "--cert", certificate, "--key", key, "--listen", bad.remote.endpoint.rpartition(":")[2])
    drained(daemon)
    assert remote_digests(remote, bucket) == PUT_WHILE_AWAY


@pytest.mark.fault(47)
@pytest.mark.semantics("Q-8")
def test_an_address_that_swallows_packets_is_away_and_nothing_is_lost(
    remote: Remote, bucket: str, faults: Faults, start_daemon: StartDaemon
) -> None:
    with contextlib.ExitStack() as sockets:
        hole = sockets.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=0))
        port = hole.getsockname()[1]
        for _ in range(4):
            # Once its queue is full, the kernel drops what knocks.
            knocking = sockets.enter_context(socket.socket(socket.AF_INET6))
            knocking.setblocking(False)
            knocking.connect_ex(("::1", port))
        nowhere = replace(remote, endpoint=f"http://[::1]:{port}")
        daemon = start_daemon(nowhere, S3D_BUCKETS=bucket, S3D_AWAY_AFTER="1s")
        put_while_away(daemon, bucket)
    faults(remote, "--host", "::1", "--listen", str(port))
    drained(daemon)
    assert remote_digests(remote, bucket) == PUT_WHILE_AWAY


@pytest.mark.fault(47)
@pytest.mark.semantics("D-9")
def test_a_remote_whose_name_is_not_found_is_away_and_nothing_is_lost(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    nowhere = replace(remote, endpoint="http://s3d.invalid:9000")
    daemon = start_daemon(nowhere, S3D_BUCKETS=bucket)
    put_while_away(daemon, bucket)
    daemon.kill()
    # The name is found again, under another one: a test has no say in the names of its machine.
    database = apsw.Connection(str(daemon.local_dir / "queue" / "queue.db"))
    database.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    database.execute("UPDATE meta SET value = ? WHERE name = 'remote'", (remote.endpoint,))
    database.close()
    daemon.settings["S3_ENDPOINT"] = remote.endpoint
    daemon.start()
    drained(daemon)
    assert remote_digests(remote, bucket) == PUT_WHILE_AWAY


PUT_WHILE_AWAY = {"inline": digest(b"1"), "file": digest(LARGE)}


def put_while_away(daemon: Daemon, bucket: str) -> None:
    """Put two objects and see that the remote counts as away, and its trouble as none of theirs."""
    assert put(daemon, "inline", b"1", bucket=bucket) == put(daemon, "file", LARGE, bucket=bucket) == 200
    wait_until(lambda: daemon.status()["remote"]["state"] == "away")
    assert pending(daemon) == 2
    assert "parked" not in states(daemon)


@pytest.mark.fault(49)
@pytest.mark.semantics("Q-12")
def test_sigterm_with_much_pending_drains_to_a_fast_remote_and_says_what_it_leaves_to_a_slow_one(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    far = relay(remote)
    far.set(mode="refuse")
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, S3D_DRAIN_SECONDS="4s")
    size = MUCH // 10
    for number in range(10):
        assert streams.put(daemon.endpoint, f"/{bucket}/key/{number}", size).status == 200
    far.set(mode="pass", bandwidth=2_000_000)
    assert daemon.terminate(120) == 75
    assert "left on the local dir: " in daemon.output()
    far.set(bandwidth=0)
    daemon.settings["S3D_DRAIN_SECONDS"] = "300s"
    daemon.start()
    assert daemon.terminate(400) == 0
    assert "drained: everything is delivered" in daemon.output()
    expected = streams.digest_of(size)
    for number in range(10):
        sha256 = hashlib.sha256()
        for block in remote.client().get_object(Bucket=bucket, Key=f"key/{number}")["Body"].iter_chunks(streams.BLOCK):
            sha256.update(block)
        assert sha256.hexdigest() == expected


@pytest.mark.fault(53)
@pytest.mark.semantics("Q-1")
@pytest.mark.semantics("Q-2")
def test_one_key_that_changes_all_the_time_ends_as_it_was_left_in_fewer_pushes_than_changes(
    remote: Remote, bucket: str, faults: Faults, start_daemon: StartDaemon
) -> None:
    far = faults(remote)
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket)
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    for number in range(ROUNDS):
        for step, body in enumerate([b"a", b"b", None, b"c"]):
            content = None if body is None else body + b"%d" % number
            connection.request("DELETE" if content is None else "PUT", f"/{bucket}/key", body=content)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in OK, f"round {number}, step {step}"
    connection.close()
    drained(daemon)
    assert remote_digests(remote, bucket) == {"key": digest(b"c%d" % (ROUNDS - 1))}
    pushes = Counter(line.split()[0] for line in far.stats()["requests"] if line.endswith("/key"))
    print(f"{4 * ROUNDS} changes, {pushes.total()} pushes: {dict(pushes)}")
    assert pushes.total() < 4 * ROUNDS


LIMITS = {"bytes": {"S3D_WRITE_QUEUE_MAX_SIZE": "115000"}, "count": {"S3D_WRITE_QUEUE_MAX_FILES": "10"}}


@pytest.mark.fault(50)
@pytest.mark.semantics("Q-7")
@pytest.mark.parametrize("name", LIMITS)
def test_beyond_a_limit_writes_are_told_to_slow_down_until_there_is_room(
    name: str, remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    far = relay(remote)
    far.set(mode="refuse")
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_WAIT="200ms", **LIMITS[name])
    body = LARGE[:10_000]
    for number in range(10):
        assert put(daemon, f"key/{number}", body, bucket=bucket) == 200
    for _ in range(3):
        status, retry_after, document = refused_put(daemon, f"/{bucket}/more", body)
        assert (status, retry_after > 0, b"<Code>SlowDown</Code>" in document) == (503, True, True)
    assert pending(daemon) == 10
    assert ask(daemon, "GET", "key/0", bucket=bucket) == (200, body)
    far.set(mode="pass")
    drained(daemon)
    assert put(daemon, "more", body, bucket=bucket) == 200
    drained(daemon)
    assert len(remote_digests(remote, bucket)) == 11


@pytest.mark.fault(50)
@pytest.mark.semantics("Q-7", "Q-7c")
def test_while_the_oldest_change_is_too_old_writes_are_told_to_slow_down(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    far = relay(remote)
    far.set(mode="refuse")
    limits = {"S3D_WRITE_QUEUE_MAX_AGE": "2s", "S3D_WRITE_QUEUE_WAIT": "200ms"}
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, **limits)
    assert put(daemon, "old", b"1", bucket=bucket) == 200
    wait_until(lambda: daemon.status()["pending"]["oldest_age_seconds"] > 2)
    status, retry_after, document = refused_put(daemon, f"/{bucket}/more", b"2")
    assert (status, retry_after > 0, b"<Code>SlowDown</Code>" in document) == (503, True, True)
    far.set(mode="pass")
    drained(daemon)
    assert put(daemon, "more", b"2", bucket=bucket) == 200
    drained(daemon)
    assert remote_digests(remote, bucket) == {"old": digest(b"1"), "more": digest(b"2")}


def refused_put(daemon: Daemon, path: str, body: bytes) -> tuple[int, int, bytes]:
    """Status, Retry-After and document of a put that is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    try:
        connection.request("PUT", path, body=body)
        answer = connection.getresponse()
        return answer.status, int(answer.headers["Retry-After"]), answer.read()
    finally:
        connection.close()
