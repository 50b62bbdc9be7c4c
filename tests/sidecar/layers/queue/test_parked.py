"""What waits for a person, by the command and over the socket; and waiting for what does not."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients import code_of, raw
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.refusals import Refuse, Refusing
from tests.relays import Relay
from tests.remotes import Remote

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)
WRONG = 3
"""What `s3d status` ends with while something is wrong."""


@dataclass
class Stage:
    """A daemon with three parked changes: bad/1, bad/2 (large) and a delete of bad/3."""

    daemon: Daemon
    proxy: Refusing
    bucket: str

    def lines(self, *words: str, code: int = 0) -> list[list[str]]:
        """The records that a command prints."""
        ran = self.daemon.cli(*words)
        assert ran.returncode == code, ran.stderr
        return [line.split("\t") for line in ran.stdout.decode().splitlines()]


@pytest.fixture
def stage(remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon) -> Stage:
    proxy = refusing(remote)
    remote.client().put_object(Bucket=bucket, Key="bad/1", Body=b"older")
    remote.client().put_object(Bucket=bucket, Key="bad/3", Body=b"older")
    proxy.set({"path": f"/{bucket}/bad", "status": 400, "code": "EntityTooLarge"})
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="bad/1", Body=b"one", Metadata={"a": "b"})
    s3.put_object(Bucket=bucket, Key="bad/2", Body=b"2" * 300_000)
    s3.delete_object(Bucket=bucket, Key="bad/3")
    eventually(lambda: daemon.status()["states"]["parked"] == 3)
    return Stage(daemon, proxy, bucket)


@pytest.mark.semantics("Q-9")
def test_a_parked_change_is_listed_and_answers_reads(stage: Stage) -> None:
    rows = stage.lines("queue", "list")
    assert [row[1:5] for row in rows] == [
        ["parked", "put", "3", f"{stage.bucket}/bad/1"],
        ["parked", "put", "300000", f"{stage.bucket}/bad/2"],
        ["parked", "delete", "0", f"{stage.bucket}/bad/3"],
    ]
    assert all(row[5].startswith("EntityTooLarge") for row in rows)
    assert len(stage.lines("queue", "list", f"{stage.bucket}/bad/2")) == 1
    assert stage.lines("queue", "list", "another") == []
    (one,) = (
        json.loads(line)
        for line in stage.daemon.cli("queue", "list", "--json", "--seq", rows[0][0]).stdout.splitlines()
    )
    assert one["members"]["x-amz-meta-a"] == "b"
    assert stage.daemon.client().get_object(Bucket=stage.bucket, Key="bad/1")["Body"].read() == b"one"


@pytest.mark.semantics("Q-9")
def test_a_parked_change_that_is_tried_again_arrives(stage: Stage, remote: Remote) -> None:
    stage.proxy.set()
    assert stage.lines("queue", "retry", f"{stage.bucket}/bad/1") == [["1"]]
    eventually(lambda: stage.daemon.status()["pending"]["changes"] == 2)
    assert remote.client().get_object(Bucket=stage.bucket, Key="bad/1")["Body"].read() == b"one"
    assert stage.lines("queue", "retry", "--all") == [["2"]]
    eventually(lambda: drained(stage.daemon))
    assert code_of(remote.client().head_object, Bucket=stage.bucket, Key="bad/3") == "404"
    assert stage.daemon.cli("queue", "retry").returncode == 2


@pytest.mark.semantics("Q-9")
def test_an_export_is_the_bytes_and_the_members_and_overwrites_nothing(stage: Stage, tmp_path: Path) -> None:
    rows = stage.lines("queue", "export", stage.bucket, "-o", str(tmp_path))
    assert [int(row[1]) for row in rows] == [3, 300_000, 0]
    first, second, third = (row[2:] for row in rows)
    assert Path(first[1]).read_bytes() == b"one"
    assert json.loads(Path(first[0]).read_text())["members"]["x-amz-meta-a"] == "b"
    assert Path(second[1]).read_bytes() == b"2" * 300_000
    assert len(third) == 1
    assert len(list(tmp_path.iterdir())) == 5
    Path(first[1]).write_bytes(b"mine")
    again = stage.daemon.cli("queue", "export", stage.bucket, "-o", str(tmp_path))
    assert again.returncode == 1
    assert b"--force" in again.stderr
    assert Path(first[1]).read_bytes() == b"mine"
    stage.lines("queue", "export", stage.bucket, "-o", str(tmp_path), "--force")
    assert Path(first[1]).read_bytes() == b"one"
    assert stage.daemon.status()["states"]["parked"] == 3


@pytest.mark.semantics("D-11", "Q-9")
def test_a_damaged_body_is_quarantined_by_its_export_and_exported_as_it_is_from_then_on(
    stage: Stage, tmp_path: Path
) -> None:
    (path,) = (path for path in (stage.daemon.local_dir / "queue" / "bodies").iterdir() if path.is_file())
    path.write_bytes(b"2" * 299_999 + b"?")
    first = stage.daemon.cli("queue", "export", f"{stage.bucket}/bad/2", "-o", str(tmp_path))
    assert first.returncode == 1
    assert b"damaged" in first.stderr
    assert b"export it again" in first.stderr
    assert list(tmp_path.iterdir()) == []
    assert stage.daemon.status()["states"]["quarantined"] == 1
    (row,) = stage.lines("queue", "export", f"{stage.bucket}/bad/2", "-o", str(tmp_path))
    assert Path(row[3]).read_bytes() == path.read_bytes()
    assert json.loads(Path(row[2]).read_text())["state"] == "quarantined"


@pytest.mark.semantics("Q-9", "D-1")
def test_a_change_is_discarded_when_somebody_says_so_and_not_before(stage: Stage) -> None:
    refused = stage.daemon.cli("queue", "discard", stage.bucket)
    assert (refused.returncode, stage.daemon.status()["states"]["parked"]) == (2, 3)
    assert b"--yes" in refused.stderr
    assert stage.lines("queue", "discard", f"{stage.bucket}/bad/1", "--yes") == [["1", "3"]]
    stage.proxy.set()
    s3 = stage.daemon.client()
    assert s3.get_object(Bucket=stage.bucket, Key="bad/1")["Body"].read() == b"older"
    assert code_of(s3.get_object, Bucket=stage.bucket, Key="bad/3") == "NoSuchKey"
    assert stage.lines("queue", "discard", "--all", "--yes") == [["2", "300000"]]
    assert drained(stage.daemon)
    # Nobody waits for the deletion of a file.
    bodies = stage.daemon.local_dir / "queue" / "bodies"
    eventually(lambda: not [path for path in bodies.rglob("*") if path.is_file() and path.name != ".queue"])


@pytest.mark.semantics("Q-9", "Q-9a")
def test_a_newer_write_takes_the_key_of_a_parked_one_which_stays_exportable(
    stage: Stage, remote: Remote, tmp_path: Path
) -> None:
    stage.proxy.set()
    s3 = stage.daemon.client()
    s3.put_object(Bucket=stage.bucket, Key="bad/1", Body=b"newer")
    s3.delete_object(Bucket=stage.bucket, Key="bad/2")
    # The remote shows an object before the daemon has recorded that.
    recorded = {"superseded": 2, "parked": 1, "waiting": 0, "pushing": 0}
    eventually(lambda: recorded.items() <= stage.daemon.status()["states"].items())
    eventually(lambda: remote.client().get_object(Bucket=stage.bucket, Key="bad/1")["Body"].read() == b"newer")
    assert s3.get_object(Bucket=stage.bucket, Key="bad/1")["Body"].read() == b"newer"
    assert code_of(s3.get_object, Bucket=stage.bucket, Key="bad/2") == "NoSuchKey"
    shown = json.loads(stage.daemon.cli("status", "--json", f"{stage.bucket}/bad/1").stdout)
    assert (shown["state"], [change["state"] for change in shown["changes"]]) == ("delivered", ["superseded"])
    said = stage.daemon.cli("queue", "retry", f"{stage.bucket}/bad/1")
    assert said.returncode == 1
    assert b"a newer write has taken its place" in said.stderr
    ((_, _, _, body),) = stage.lines("queue", "export", f"{stage.bucket}/bad/1", "-o", str(tmp_path))
    assert Path(body).read_bytes() == b"one"


@pytest.mark.semantics("Q-9", "Q-9d", "R-3")
def test_a_barrier_that_meets_a_parked_change_says_so_at_once_and_names_it(stage: Stage) -> None:
    stage.proxy.set()
    status, headers, document = raw(stage.daemon, "GET", f"/{stage.bucket}/bad/1?acl")
    assert status == 503
    assert b"<PendingKey>bad/1</PendingKey>" in document
    assert b"is parked" in document
    assert "retry-after" not in headers


@pytest.mark.semantics("Q-7", "Q-7d")
def test_parked_changes_count_to_the_limits_until_they_are_discarded(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_MAX_FILES="1", S3D_WRITE_QUEUE_WAIT="100ms")
    proxy.set({"path": f"/{bucket}/bad", "status": 400, "code": "EntityTooLarge"})
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="bad", Body=b"x")
    eventually(lambda: daemon.status()["states"]["parked"] == 1)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x") == "SlowDown"
    assert daemon.cli("queue", "discard", "--all", "--yes").returncode == 0
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")


def test_a_flush_ends_when_what_was_pending_is_delivered(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    s3 = daemon.client()
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"now/{number}", Body=b"x")
    s3.put_object(Bucket=bucket, Key="later", Body=b"x")
    ran = daemon.cli("flush", f"{bucket}/now/")
    assert ran.returncode == 0, ran.stderr
    assert [o["Key"] for o in remote.client().list_objects_v2(Bucket=bucket)["Contents"]] == [
        f"now/{n}" for n in range(5)
    ]
    assert daemon.cli("flush").returncode == 0
    assert drained(daemon)
    assert daemon.cli("flush").returncode == 0


def test_a_flush_names_what_it_cannot_deliver(stage: Stage) -> None:
    ran = stage.daemon.cli("flush")
    assert ran.returncode == 75
    assert f"{stage.bucket}/bad/1".encode() in ran.stderr
    assert b"EntityTooLarge" in ran.stderr
    stage.proxy.set({"path": f"/{stage.bucket}/", "status": 403, "code": "InvalidAccessKeyId"})
    stage.daemon.client().put_object(Bucket=stage.bucket, Key="k", Body=b"x")
    eventually(lambda: stage.daemon.status()["paused_lanes"] == 1)
    ran = stage.daemon.cli("flush", f"{stage.bucket}/k", "--timeout", "0.5")
    assert ran.returncode == 75
    assert b"InvalidAccessKeyId" in ran.stderr


@pytest.mark.semantics("Q-12")
def test_what_is_left_at_the_end_is_counted_by_what_it_waits_for(stage: Stage) -> None:
    assert stage.daemon.terminate() == 75
    assert "3 changes, 300003 bytes" in stage.daemon.output()
    assert "3 of them parked" in stage.daemon.output()


@pytest.mark.semantics("R-1")
def test_what_is_pending_can_be_listed_while_the_remote_is_away(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    relayed.set(mode="refuse")
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, S3D_AWAY_AFTER="1s")
    daemon.client().put_object(Bucket=bucket, Key="a/1", Body=b"x")
    daemon.client().put_object(Bucket=bucket, Key="b", Body=b"xy")
    ran = daemon.cli("ls", "-r", "--pending", bucket)
    assert ran.returncode == 0, ran.stderr
    assert [line.split(b"\t")[1:] for line in ran.stdout.splitlines()] == [[b"1", b"a/1"], [b"2", b"b"]]
    assert daemon.cli("ls", "--pending").returncode == 2


@pytest.mark.semantics("Q-8", "A-7")
def test_a_paused_lane_is_named_on_the_socket_and_counted_on_the_metrics_door(stage: Stage) -> None:
    stage.proxy.set({"path": f"/{stage.bucket}/", "status": 403, "code": "InvalidAccessKeyId"})
    stage.daemon.client().put_object(Bucket=stage.bucket, Key="k", Body=b"x")
    eventually(lambda: stage.daemon.status()["paused_lanes"] == 1)
    shown = dict(stage.lines("status", code=WRONG))
    assert (shown["lanes.0.bucket"], shown["lanes.0.code"]) == (stage.bucket, "InvalidAccessKeyId")
    assert "lanes" not in stage.daemon.status()
    stage.proxy.set()
    assert stage.daemon.cli("queue", "retry", stage.bucket).returncode == 0
    eventually(lambda: stage.daemon.status()["paused_lanes"] == 0)


def test_the_story_of_a_change_is_told(stage: Stage) -> None:
    number = stage.lines("queue", "list")[0][0]
    lines = dict(stage.lines("trace", number))
    assert (lines["bucket"], lines["key"], lines["state"]) == (stage.bucket, "bad/1", "parked")
    assert (lines["attempts"], lines["code"]) == ("1", "EntityTooLarge")
    assert stage.daemon.cli("trace", "4711").returncode == 1
