"""What a remote refuses: paused lanes, parked changes, and what goes on beside them."""

import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.clients import code_of
from tests.constants import HURRIED
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.refusals import Refuse
from tests.remotes import Remote

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)


def state_of(daemon: Daemon, bucket: str, key: str) -> dict[str, Any]:
    """The newest change of a key, as `s3d status` has it; `delivered` where there is none."""
    shown = daemon.ask(f"/status?bucket={bucket}&key={quote(key, safe='')}")["changes"]
    return shown[-1] if shown else {"state": "delivered"}


@pytest.mark.semantics("Q-8", "Q-8b")
def test_a_refused_lane_pauses_keeps_everything_and_goes_on_by_itself(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=f"{bucket},{bucket}-2", S3D_AWAY_AFTER="60s", **HURRIED)
    s3 = daemon.client()
    remote.client().create_bucket(Bucket=f"{bucket}-2")
    s3.put_object(Bucket=bucket, Key="before", Body=b"x")
    s3.put_object(Bucket=f"{bucket}-2", Key="before", Body=b"x")
    eventually(lambda: drained(daemon))
    refused = {"path": f"/{bucket}/", "method": "PUT", "status": 403, "code": "InvalidAccessKeyId"}
    proxy.set(refused)
    for number in range(40):
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=b"%d" % number)
    eventually(lambda: daemon.status()["paused_lanes"] == 1)
    proxy.set({**refused, "delay": 3600})
    eventually(lambda: daemon.status()["states"]["pushing"] == 1)
    s3.put_object(Bucket=bucket, Key="k40", Body=b"40")
    s3.put_object(Bucket=f"{bucket}-2", Key="beside", Body=b"x")
    eventually(lambda: "Contents" in remote.client().list_objects_v2(Bucket=f"{bucket}-2", Prefix="beside"))
    # The remote shows an object before the daemon has recorded that.
    eventually(lambda: daemon.status()["pending"]["changes"] == 41)
    assert daemon.status()["states"]["pushing"] == 1, "more than one probe at a time"
    assert "are paused" in daemon.output()
    daemon.kill()
    # The next probe is answered: one that was held would be waited for longer than the test.
    proxy.set(refused)
    daemon.start()
    assert daemon.status()["paused_lanes"] == 1
    proxy.set()
    eventually(lambda: drained(daemon))
    assert daemon.status()["paused_lanes"] == 0
    for number in range(41):
        assert remote.client().get_object(Bucket=bucket, Key=f"k{number}")["Body"].read() == b"%d" % number


@pytest.mark.semantics("Q-8", "Q-8c")
def test_what_is_denied_alone_is_parked_and_its_lane_goes_on(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, **HURRIED)
    s3 = daemon.client()
    denied = {"path": f"/{bucket}/secret/", "method": "PUT", "status": 403, "code": "AccessDenied"}
    # So that the denial of the first does not keep the others from being queued.
    proxy.set({**denied, "held": True})
    for number in range(4):
        s3.put_object(Bucket=bucket, Key=f"secret/{number}", Body=b"x")
    proxy.set(denied)
    # What passed before the denial says nothing of what the lane may do now.
    eventually(lambda: state_of(daemon, bucket, "secret/1")["code"] == "AccessDenied")

    def others_pass_until_all_are_parked() -> bool:
        s3.put_object(Bucket=bucket, Key="open/1", Body=b"x")
        s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
        return bool(daemon.status()["states"]["parked"] == 4)

    eventually(others_pass_until_all_are_parked)
    eventually(lambda: daemon.status()["pending"]["changes"] == 4)
    eventually(lambda: daemon.status()["paused_lanes"] == 0)
    assert state_of(daemon, bucket, "secret/1")["code"] == "AccessDenied"
    assert s3.get_object(Bucket=bucket, Key="secret/1")["Body"].read() == b"x"


@pytest.mark.semantics("Q-8", "Q-8c")
def test_a_lane_of_which_everything_is_denied_parks_nothing(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, **HURRIED)
    s3 = daemon.client()
    denied = {"path": f"/{bucket}/", "status": 403, "code": "AccessDenied"}
    proxy.set({**denied, "held": True})
    keys = [f"{first}/{second}" for first in "abcd" for second in "xyz"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.delete_object(Bucket=bucket, Key="gone")
    proxy.set(denied)
    eventually(lambda: daemon.status()["paused_lanes"] == 1)
    assert daemon.status()["states"]["parked"] == 0
    proxy.set()
    eventually(lambda: drained(daemon))
    assert [o["Key"] for o in remote.client().list_objects_v2(Bucket=bucket)["Contents"]] == keys


REFUSED_FOR_GOOD = [
    ({"status": 400, "code": "EntityTooLarge"}, 1),
    ({"status": 501, "code": "NotImplemented"}, 1),
    ({"status": 400, "code": "InvalidTag"}, 1),
    ({"status": 422, "code": "NobodyKnowsThis"}, 3),
]


@pytest.mark.semantics("Q-8", "Q-8d")
@pytest.mark.parametrize("rule, attempts", REFUSED_FOR_GOOD, ids=str)
def test_what_is_refused_for_good_is_parked_and_the_others_go_on(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon, rule: dict[str, Any], attempts: int
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, **HURRIED)
    s3 = daemon.client()
    proxy.set({"path": f"/{bucket}/bad", "method": "PUT", **rule})
    s3.put_object(Bucket=bucket, Key="bad", Body=b"x")
    s3.put_object(Bucket=bucket, Key="good", Body=b"x")
    over = {"parked": 1, "waiting": 0, "pushing": 0}
    eventually(lambda: over.items() <= daemon.status()["states"].items())
    change = state_of(daemon, bucket, "bad")
    assert (change["state"], change["code"], change["attempts"]) == ("parked", rule["code"], attempts)
    assert remote.client().get_object(Bucket=bucket, Key="good")["Body"].read() == b"x"


@pytest.mark.semantics("Q-8", "Q-8g")
@pytest.mark.parametrize(
    "rule", [{"status": 503, "code": "SlowDown"}, {"status": 400, "code": "RequestTimeout"}], ids=str
)
def test_what_is_refused_for_now_is_tried_until_it_passes(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon, rule: dict[str, Any]
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, **HURRIED)
    proxy.set({"path": f"/{bucket}/k", "method": "PUT", **rule})
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    eventually(lambda: state_of(daemon, bucket, "k").get("attempts", 0) > 4)
    assert daemon.status()["paused_lanes"] == 0
    proxy.set()
    eventually(lambda: drained(daemon))


@pytest.mark.semantics("D-4", "Q-8", "Q-8e")
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_body_that_the_remote_saw_otherwise_is_hashed_again(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon, size: int
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, **HURRIED)
    proxy.set({"path": f"/{bucket}/k", "method": "PUT", "status": 400, "code": "BadDigest"})
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x" * size)
    eventually(lambda: state_of(daemon, bucket, "k").get("attempts", 0) > 3)
    assert state_of(daemon, bucket, "k")["state"] != "parked"
    proxy.set()
    eventually(lambda: drained(daemon))
    assert remote.client().head_object(Bucket=bucket, Key="k")["ContentLength"] == size


@pytest.mark.semantics("Q-8")
def test_a_clock_that_is_wrong_is_named_and_the_remotes_time_is_learnt(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, **HURRIED)
    skewed = {"path": f"/{bucket}/", "method": "PUT", "status": 403, "code": "RequestTimeTooSkewed"}
    proxy.set({**skewed, "date": 3600, "skew": True})
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    eventually(lambda: drained(daemon))
    assert "RequestTimeTooSkewed" in daemon.output()
    assert "the remote's clock is +" in daemon.output()
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


@pytest.mark.semantics("Q-8", "Q-8b")
def test_a_bucket_that_was_deleted_there_pauses_its_lane_and_is_never_made_anew(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **HURRIED)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    eventually(lambda: drained(daemon))
    remote.client().delete_object(Bucket=bucket, Key="k")
    remote.client().delete_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    eventually(lambda: daemon.status()["paused_lanes"] == 1)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    assert code_of(s3.put_object, Bucket=bucket, Key="other", Body=b"x") == "NoSuchBucket"
    assert code_of(remote.client().head_bucket, Bucket=bucket) == "404"
    assert daemon.status()["pending"]["changes"] == 1
    remote.client().create_bucket(Bucket=bucket)
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


@pytest.mark.semantics("Q-8i", "Q-8c")
@pytest.mark.parametrize("code, status", [("SignatureDoesNotMatch", 403), ("SlowDown", 503)])
def test_what_is_tried_again_and_again_is_named_with_the_reason(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon, code: str, status: int
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, **HURRIED)
    proxy.set({"path": f"/{bucket}/odd", "method": "PUT", "status": status, "code": code})
    daemon.client().put_object(Bucket=bucket, Key="odd", Body=b"x")

    def named() -> list[tuple[str, str, str]]:
        return [(one["bucket"], one["key"], one["code"]) for one in daemon.ask("/status")["tried"]]

    # Only what waits is named, and not while it is on its way.
    eventually(lambda: named() == [(bucket, "odd", code)])
    eventually(lambda: b"tried.0.key\todd" in daemon.cli("status").stdout)
    assert "tried" not in daemon.status(), "the metrics door shows no keys"
    proxy.set()
    eventually(lambda: drained(daemon))
    assert daemon.ask("/status")["tried"] == []


@pytest.mark.semantics("Q-10")
@pytest.mark.parametrize("size", [1, 9 << 20], ids=["poisoned", "large"])
def test_slow_objects_hold_up_no_others(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon, size: int
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(
        proxy.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_WORKERS="4", S3D_AWAY_AFTER="60s", **HURRIED
    )
    s3 = daemon.client()
    slow = {"path": f"/{bucket}/slow", "method": "PUT", "status": 503, "code": "SlowDown"}
    # What is small is not slow before it was tried once.
    proxy.set(slow)
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"slow{number}", Body=b"x" * size)
    eventually(lambda: all(state_of(daemon, bucket, f"slow{number}")["attempts"] for number in range(5)))
    proxy.set({**slow, "delay": 3600})

    def due() -> list[float | None]:
        return [state_of(daemon, bucket, f"slow{number}")["next_at"] for number in range(5)]

    eventually(lambda: due().count(None) == 3)  # what is under way has no time
    # The other two are long due, and get no worker.
    eventually(lambda: all(at is None or at < time.time() - 1 for at in due()))
    for number in range(20):
        s3.put_object(Bucket=bucket, Key=f"quick{number}", Body=b"x")
    eventually(lambda: remote.client().list_objects_v2(Bucket=bucket, Prefix="quick")["KeyCount"] == 20)
    # The remote shows an object before the daemon has recorded that.
    eventually(lambda: daemon.status()["pending"]["changes"] == 5)
