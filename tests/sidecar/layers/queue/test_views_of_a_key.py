"""What is shown when a pending change, the remote and another gateway say different things."""

import pytest

from tests.clients import code_of
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import AWAY, Relay
from tests.remotes import Remote

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)


def keys_of(client: object, bucket: str) -> list[str]:
    return [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", [])]  # type: ignore[attr-defined]


@pytest.mark.semantics("R-2")
def test_a_pending_change_is_shown_before_what_the_remote_has_and_the_remotes_after_it(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    ours, theirs = daemon.client(), remote.client()
    for key in ("put", "deleted", "untouched"):
        theirs.put_object(Bucket=bucket, Key=key, Body=b"theirs")
    ours.put_object(Bucket=bucket, Key="put", Body=b"ours")
    ours.delete_object(Bucket=bucket, Key="deleted")
    theirs.put_object(Bucket=bucket, Key="put", Body=b"theirs, later")
    assert ours.get_object(Bucket=bucket, Key="put")["Body"].read() == b"ours"
    assert ours.head_object(Bucket=bucket, Key="put")["ContentLength"] == 4
    assert code_of(ours.get_object, Bucket=bucket, Key="deleted") == "NoSuchKey"
    assert ours.get_object(Bucket=bucket, Key="untouched")["Body"].read() == b"theirs"
    assert keys_of(ours, bucket) == ["put", "untouched"]
    assert daemon.cli("flush").returncode == 0
    assert theirs.get_object(Bucket=bucket, Key="put")["Body"].read() == b"ours"
    for key in ("put", "deleted"):
        theirs.put_object(Bucket=bucket, Key=key, Body=b"theirs again")
        assert ours.get_object(Bucket=bucket, Key=key)["Body"].read() == b"theirs again"


@pytest.mark.semantics("D-7")
def test_another_gateway_sees_a_change_after_its_push_and_not_before(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    far = relay(remote)
    first = start_daemon(far.remote, S3D_BUCKETS=bucket, **AWAY)
    second: Daemon = start_daemon(remote, S3D_BUCKETS=bucket)
    far.set(mode="refuse")
    first.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    assert code_of(second.client().get_object, Bucket=bucket, Key="k") == "NoSuchKey"
    far.set(mode="pass")
    eventually(lambda: drained(first))
    assert second.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
