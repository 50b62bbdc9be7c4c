"""Writes that arrive late, from outside: the newest acknowledged one is put right (SEMANTICS Q-3)."""

import pytest

from tests.clients import code_of
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import Relay
from tests.remotes import Remote

pytestmark = pytest.mark.semantics("Q-3")


def look_at_once(daemon: Daemon) -> None:
    """Start it as if the time were over for all that it keeps."""
    daemon.settings["S3D_WRITE_QUEUE_LATE_WRITE_WINDOW"] = "0s"
    daemon.start()


@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.parametrize("newest", ["put", "delete"])
def test_an_older_put_that_arrives_late_is_put_right(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, newest: str
) -> None:
    relayed, there = relay(remote), remote.client()
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    s3 = daemon.client()
    daemon.warm(bucket)
    relayed.set(mode="drop", only=["PUT"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    eventually(lambda: daemon.status()["states"]["in_doubt"] == 1)
    if newest == "put":
        s3.put_object(Bucket=bucket, Key="k", Body=b"22")
    else:
        s3.delete_object(Bucket=bucket, Key="k")
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    daemon.kill()
    there.put_object(Bucket=bucket, Key="k", Body=b"1")
    look_at_once(daemon)
    if newest == "put":
        eventually(lambda: there.get_object(Bucket=bucket, Key="k")["Body"].read() == b"22")
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"22"
    else:
        eventually(lambda: code_of(there.head_object, Bucket=bucket, Key="k") == "404")
    eventually(lambda: drained(daemon))
    assert "an older change arrived" in daemon.output()


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_what_somebody_else_wrote_meanwhile_stays(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed, there = relay(remote), remote.client()
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    s3 = daemon.client()
    daemon.warm(bucket)
    relayed.set(mode="drop", only=["PUT"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"1" * 100_000)
    eventually(lambda: daemon.status()["states"]["in_doubt"] == 1)
    s3.put_object(Bucket=bucket, Key="k", Body=b"2" * 100_000)
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    daemon.kill()
    there.put_object(Bucket=bucket, Key="k", Body=b"3")
    look_at_once(daemon)
    eventually(lambda: not [p for p in (daemon.local_dir / "queue" / "bodies").rglob("*") if p.is_file()])
    assert there.get_object(Bucket=bucket, Key="k")["Body"].read() == b"3"
    assert "an older change arrived" not in daemon.output()


@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_write_through_whose_answer_was_lost_may_arrive_after_the_next_put(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed, there = relay(remote), remote.client()
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    s3 = daemon.client()
    daemon.warm(bucket)
    relayed.set(mode="drop", only=["PUT"])
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*") == "ServiceUnavailable"
    relayed.set(mode="pass")
    s3.put_object(Bucket=bucket, Key="k", Body=b"22")
    eventually(lambda: drained(daemon))
    daemon.kill()
    there.put_object(Bucket=bucket, Key="k", Body=b"1")
    look_at_once(daemon)
    eventually(lambda: there.get_object(Bucket=bucket, Key="k")["Body"].read() == b"22")


@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.parametrize("foreign", ["put", "delete"])
def test_tags_whose_answer_was_lost_replace_nothing_that_somebody_else_wrote(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, foreign: str
) -> None:
    """They leave the content as it is: whatever else shows is not theirs."""
    relayed, there = relay(remote), remote.client()
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    s3 = daemon.client()
    daemon.warm(bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    eventually(lambda: drained(daemon))
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    relayed.set(mode="drop", only=["PUT"])
    assert code_of(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=tags) == "ServiceUnavailable"
    relayed.set(mode="pass")
    s3.put_object(Bucket=bucket, Key="k", Body=b"22")
    eventually(lambda: drained(daemon))
    daemon.kill()
    if foreign == "put":
        there.put_object(Bucket=bucket, Key="k", Body=b"3")
    else:
        there.delete_object(Bucket=bucket, Key="k")
    look_at_once(daemon)
    s3.put_object(Bucket=bucket, Key="other", Body=b"4")
    eventually(lambda: drained(daemon) and code_of(there.head_object, Bucket=bucket, Key="other") == "")
    assert "an older change arrived" not in daemon.output()
    if foreign == "put":
        assert there.get_object(Bucket=bucket, Key="k")["Body"].read() == b"3"
    else:
        assert code_of(there.head_object, Bucket=bucket, Key="k") == "404"
