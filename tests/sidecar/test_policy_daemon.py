"""The daemon and its policy, over kills and restarts (SEMANTICS F-3). S3D_E2E_SOAK_HOURS makes them many more."""

import json
import os
import random
import time
import urllib.request
from pathlib import Path

import pytest

from tests.daemons import StartDaemon, drained, eventually
from tests.policies import ALLOW, agent, hung
from tests.processes import free_port
from tests.remotes import Remote

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
ROUNDS = 200 if SOAK_HOURS else 3
MOMENT = 0.05
"""Seconds after an acknowledgement within which a process is killed."""

pytestmark = pytest.mark.timeout(600 + SOAK_HOURS * 3600)


@pytest.mark.semantics("F-3a", "D-1")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_kill_between_acknowledgement_and_verdict_pushes_nothing_that_nobody_has_judged(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    port = free_port()
    there = remote.client()
    keys = [f"k{number:03}" for number in range(ROUNDS)]
    seed = os.environ.get("S3D_E2E_SEED") or "s3d"
    print(f"S3D_E2E_SEED={seed}")
    chance = random.Random(seed)
    with hung(port):
        # Long enough that no time-out holds what is not judged.
        daemon = start_daemon(remote, S3D_OPA_URL=f"http://127.0.0.1:{port}", S3D_OPA_TIMEOUT="1h")
        for key in keys:
            daemon.client().put_object(Bucket=bucket, Key=key, Body=b"12345")
            # At once, or somewhere in what the judge does then: the kill's moment is the test, nothing waits for it.
            time.sleep(chance.choice([0.0, chance.uniform(0.0, MOMENT)]))
            daemon.kill()
            daemon.start()
            assert "Contents" not in there.list_objects_v2(Bucket=bucket), f"after the kill behind {key}"
        assert daemon.status()["pending"]["unjudged"] == len(keys)
        assert daemon.status()["states"]["waiting"] == len(keys)
        # Whatever is due is claimed before a barrier gives up.
        daemon.client().put_object(Bucket=bucket, Key="last", Body=b"12345")
        assert "Contents" not in there.list_objects_v2(Bucket=bucket)
        daemon.kill()
    with agent(tmp_path, ALLOW, port=port):
        daemon.start()
        eventually(lambda: drained(daemon))
    assert [one["Key"] for one in there.list_objects_v2(Bucket=bucket)["Contents"]] == [*keys, "last"]


@pytest.mark.semantics("F-3a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_drain_delivers_what_the_policy_lets_leave_and_leaves_the_rest(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    rego = ALLOW.replace("input.operation", 'input.key != "no"')
    with agent(tmp_path, rego) as policy:
        daemon = start_daemon(remote, S3D_OPA_URL=policy.url, S3D_WRITE_QUEUE_DELAY="1h")
        for key in ("yes", "no"):
            daemon.client().put_object(Bucket=bucket, Key=key, Body=b"12345")
        assert daemon.terminate() == 75
    assert [one["Key"] for one in remote.client().list_objects_v2(Bucket=bucket)["Contents"]] == ["yes"]


@pytest.mark.semantics("F-3g")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_restart_with_a_wrong_settings_file_goes_on_asking_the_last_policy(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    port = free_port()
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"S3D_OPA_URL": f"http://127.0.0.1:{port}", "S3D_OPA_TIMEOUT": "1h"}))
    with hung(port):
        daemon = start_daemon(remote, S3D_CONFIG_DIR=str(tmp_path))
        daemon.client().put_object(Bucket=bucket, Key="k", Body=b"12345")
        daemon.kill()
        file.write_text('{"S3D_OPA_URL": 7')
        daemon.start()
        daemon.client().put_object(Bucket=bucket, Key="k2", Body=b"12345")
        assert daemon.status()["pending"]["unjudged"] == 2
        assert daemon.status()["files"]["settings"]["error"]
        daemon.kill()
    with agent(tmp_path, ALLOW, port=port):
        daemon.start()
        eventually(lambda: drained(daemon))
    assert [one["Key"] for one in remote.client().list_objects_v2(Bucket=bucket)["Contents"]] == ["k", "k2"]


@pytest.mark.semantics("F-3a", "F-4a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_what_is_held_and_what_nobody_has_judged_shows_in_status_command_and_metrics(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    port = free_port()
    opa = {"S3D_OPA_URL": f"http://127.0.0.1:{port}", "S3D_OPA_TIMEOUT": "1h"}
    with hung(port):
        daemon = start_daemon(remote, **opa, S3D_WRITE_QUEUE_PUSH_FILTER=f"!{bucket}/held")
        for key in ("held", "unjudged"):
            daemon.client().put_object(Bucket=bucket, Key=key, Body=b"12345")
        pending = daemon.status()["pending"]
        assert (pending["changes"], pending["held"], pending["unjudged"]) == (2, 1, 1)
        shown = daemon.cli("status").stdout.decode().splitlines()
        for name in ("held", "unjudged", "kept_bytes"):
            assert f"pending.{name}\t{pending[name]}" in shown
        with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=10) as answer:
            measured = answer.read().decode().splitlines()
        assert "s3d_queue_unjudged_changes 1.0" in measured
        assert 's3d_queue_pending_changes{state="held"} 1.0' in measured
        assert f"s3d_queue_kept_bytes {float(pending['kept_bytes'])}" in measured
