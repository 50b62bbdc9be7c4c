"""`s3d run --drain`: what a daemon left is delivered by one that takes nothing, and never beside another one."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from s3d.store.lock import lock_dir
from tests.clients import data_of
from tests.daemons import Daemon, StartDaemon, eventually
from tests.processes import Program, free_port, running, start
from tests.relays import AWAY, Relay, Relayed
from tests.remotes import Remote

SIZES = (0, 4096, 300_000)

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)


@pytest.fixture
def left(remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon) -> tuple[Daemon, Relayed, str]:
    """A daemon that has ended and left changes; its remote is still away."""
    relayed = relay(remote)
    relayed.set(mode="refuse")
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, S3D_DRAIN_SECONDS="0", **AWAY)
    for number, size in enumerate(SIZES):
        daemon.client().put_object(Bucket=bucket, Key=f"k{number}", Body=data_of(size))
    assert daemon.terminate() == 75
    daemon.settings["S3D_TERMINATION_LOG"] = str(daemon.directory / "left")
    return daemon, relayed, bucket


@contextmanager
def draining(daemon: Daemon) -> Iterator[Program]:
    """`s3d run --drain` on the local dir of a daemon."""
    words = [sys.executable, "-m", "s3d.cli", "run", "--drain"]
    with running(start(words, daemon.directory / "drain.log", daemon.environment)) as program:
        yield program


@pytest.mark.semantics("Q-12")
def test_it_delivers_what_was_left_and_ends(left: tuple[Daemon, Relayed, str], remote: Remote) -> None:
    daemon, relayed, bucket = left
    with draining(daemon) as program:
        eventually(lambda: "delivers what is pending" in program.output())
        assert daemon.status()["pending"]["changes"] == len(SIZES)
        assert f":{daemon.port}" not in program.output(), "no door for applications"
        relayed.set(mode="pass")
        assert program.wait(60) == 0
    for number, size in enumerate(SIZES):
        assert remote.client().get_object(Bucket=bucket, Key=f"k{number}")["Body"].read() == data_of(size)
    assert not (daemon.directory / "left").exists()


def test_sigterm_ends_it_at_once_with_what_is_left_and_the_next_start_has_it(
    left: tuple[Daemon, Relayed, str], remote: Remote
) -> None:
    daemon, relayed, bucket = left
    daemon.settings |= {"S3D_DRAIN_SECONDS": "600", "S3D_LOCK_WAIT": "60"}
    with draining(daemon) as program:
        eventually(lambda: "delivers what is pending" in program.output())
        assert program.terminate(30) == 75
    said = json.loads((daemon.directory / "left").read_text())
    assert (said["changes"], said["bytes"], said["parked"]) == (len(SIZES), sum(SIZES), 0)
    relayed.set(mode="pass")
    assert daemon.start().terminate() == 0
    assert len(remote.client().list_objects_v2(Bucket=bucket)["Contents"]) == len(SIZES)


@pytest.mark.semantics("D-8")
def test_it_ends_at_once_for_a_daemon_that_waits_which_has_what_is_left(
    left: tuple[Daemon, Relayed, str], remote: Remote
) -> None:
    daemon, relayed, bucket = left
    daemon.settings |= {"S3D_DRAIN_SECONDS": "600", "S3D_LOCK_WAIT": "100"}
    with draining(daemon) as program:
        eventually(lambda: "delivers what is pending" in program.output())
        # They cannot both have the ports of the health door.
        waiting = Daemon(daemon.directory, daemon.settings, free_port(), free_port())
        waiting.start()
        try:
            assert program.wait(60) == 75
            assert json.loads((daemon.directory / "left").read_text())["changes"] == len(SIZES)
            assert waiting.status()["pending"]["changes"] == len(SIZES)
            relayed.set(mode="pass")
            assert waiting.terminate() == 0
        finally:
            waiting.kill()
    assert len(remote.client().list_objects_v2(Bucket=bucket)["Contents"]) == len(SIZES)


def test_one_that_waited_and_was_killed_does_not_end_it(left: tuple[Daemon, Relayed, str]) -> None:
    daemon, relayed, _ = left
    daemon.settings |= {"S3D_LOCK_WAIT": "100"}
    words = [sys.executable, "-m", "s3d.cli", "run"]
    holder = lock_dir(daemon.local_dir)
    with running(start(words, daemon.directory / "killed.log", daemon.environment)) as killed:
        eventually(holder.is_asked_for)
        killed.kill()
    assert not holder.is_asked_for()
    holder.release()
    with draining(daemon) as program:
        eventually(lambda: "delivers what is pending" in program.output())
        relayed.set(mode="pass")
        assert program.wait(60) == 0


@pytest.mark.semantics("D-8")
def test_it_ends_with_a_word_where_a_running_daemon_has_the_queue(left: tuple[Daemon, Relayed, str]) -> None:
    daemon, _, _ = left
    daemon.start()
    second = Daemon(daemon.directory, daemon.settings, free_port(), free_port())
    with draining(second) as program:
        assert program.wait(60) == 2
        assert f"is in use by another s3d (pid {daemon.process.pid}" in program.output()
    assert daemon.running


def test_what_waits_for_a_person_does_not_keep_it(left: tuple[Daemon, Relayed, str], remote: Remote) -> None:
    daemon, relayed, bucket = left
    daemon.start()
    daemon.client().put_object_tagging(
        Bucket=bucket, Key="k0", Tagging={"TagSet": [{"Key": "s3d.upload", "Value": "false"}]}
    )
    assert daemon.terminate() == 75
    relayed.set(mode="pass")
    with draining(daemon) as program:
        assert program.wait(60) == 75
    said = json.loads((daemon.directory / "left").read_text())
    assert said["changes"] == said["parked"] > 0
    assert len(remote.client().list_objects_v2(Bucket=bucket)["Contents"]) == len(SIZES) - 1
