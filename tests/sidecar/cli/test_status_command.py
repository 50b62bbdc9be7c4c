import json
import os
import signal
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from botocore.exceptions import ClientError

from s3d.admin.reports import BucketStatus, LaneStatus, ObjectStatus, Status, TriedStatus
from s3d.cli.status import flatten
from tests.daemons import Daemon, StartDaemon
from tests.processes import free_port
from tests.remotes import Remote
from tests.sidecar.cli.conftest import Cli


@pytest.fixture(scope="module")
def without_remote(moto: Remote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose remote refuses every connection, and which has met that."""
    remote = Remote("away", f"http://127.0.0.1:{free_port()}", "Dummy", "Dummy", moto.program)
    daemon = Daemon(tmp_path_factory.mktemp("s3d"), {**remote.environment, "S3D_BUCKETS": "photos,films,notes,tapes"})
    daemon.start()
    with pytest.raises(ClientError):
        daemon.client(retries={"total_max_attempts": 1}).list_buckets()
    yield daemon
    daemon.kill()
    print(daemon.output()[-20000:])


@pytest.fixture
def away(cli: Cli, without_remote: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The same, and the command talks to it."""
    monkeypatch.setenv("S3D_ENDPOINT", without_remote.endpoint)
    monkeypatch.setenv("S3D_METRICS_ENDPOINT", without_remote.metrics_endpoint)
    monkeypatch.setenv("S3D_LOCAL_DIR", str(without_remote.local_dir))
    return without_remote


def test_status_is_a_value_a_line(cli: Cli, away: Daemon) -> None:
    ran = cli("status")
    assert ran.code == 3, "the remote is away"
    shown = dict(ran.lines)
    assert shown["pending.changes"].isdecimal()
    assert shown["draining"] == "false"
    assert shown["remote.endpoint"].startswith("http://127.0.0.1:")
    assert cli("status", "--json").json[0]["version"] == shown["version"]


def fits(said: Any, kind: Any) -> bool:
    """Whether a document has the members of a type, each of its own type, and no others."""
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        return said.keys() == hints.keys() and all(fits(said[name], hint) for name, hint in hints.items())
    parts = get_args(kind)
    origin = get_origin(kind)
    if origin is types.UnionType:
        if said is None:
            return type(None) in parts
        return any(fits(said, part) for part in parts if part is not type(None))
    if origin is typing.Literal:
        return said in parts
    if origin is list:
        return all(fits(one, parts[0]) for one in said)
    if origin is dict:
        return all(fits(one, parts[1]) for one in said.values())
    return isinstance(said, int | float) if kind is float else isinstance(said, kind)


def test_the_documents_are_what_the_reference_says(cli: Cli, away: Daemon, tmp_path: Path) -> None:
    cli("put", "-", "tapes/documented", stdin=b"12345")
    over_socket = cli("status", "--json").json[0]
    assert fits(over_socket.pop("lanes"), list[LaneStatus])
    assert fits(over_socket.pop("tried"), list[TriedStatus])
    assert fits(over_socket, Status), over_socket
    assert fits(said := cli("status", "tapes", "--json").json[0], BucketStatus), said
    assert fits(said := cli("status", "tapes/documented", "--json").json[0], ObjectStatus), said
    assert fits(said := cli("status", "--json", S3D_LOCAL_DIR=str(tmp_path)).json[0], Status), said


def test_a_change_that_waits_shows_in_the_status_of_its_object_and_its_bucket(cli: Cli, away: Daemon) -> None:
    assert cli("put", "-", "photos/a//b", stdin=b"12345").code == 0
    said = cli("status", "photos/a//b", "--json").json[0]
    assert (said["bucket"], said["key"], said["state"]) == ("photos", "a//b", said["changes"][0]["state"])
    assert [(change["op"], change["size"]) for change in said["changes"]] == [("put", 5)]
    assert cli("status", "photos/other", "--json").json[0]["state"] == "delivered"
    assert cli("status", "photos", "--json").json[0]["pending"] == {"changes": 1, "bytes": 5}
    assert cli("status", "--json").json[0]["pending"]["changes"] >= 1
    assert cli("get", "-q", "photos/a//b").out == b"12345"


def test_what_needs_a_remote_that_is_away_is_exit_code_69(cli: Cli, away: Daemon) -> None:
    ran = cli("ls", "notes")
    assert ran.code == 69
    said, hint = ran.err.splitlines()
    assert said.startswith("s3d: ServiceUnavailable: ")
    assert hint.startswith("hint: ")


def test_counts_come_over_the_metrics_door_where_there_is_no_socket(cli: Cli, away: Daemon, tmp_path: Path) -> None:
    elsewhere = str(tmp_path)
    assert cli("status", S3D_LOCAL_DIR=elsewhere).code == 3
    ran = cli("status", "photos")
    assert ran.code == 69
    assert f"no s3d listens on {elsewhere}/s3d.sock" in ran.err


def test_a_named_metrics_door_is_asked_rather_than_a_socket_that_happens_to_be_there(
    cli: Cli, away: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "s3d").symlink_to(away.local_dir)
    monkeypatch.delenv("S3D_LOCAL_DIR")
    closed = f"http://127.0.0.1:{free_port()}"
    assert cli("status", XDG_STATE_HOME=str(state), S3D_METRICS_ENDPOINT=closed).code == 69
    monkeypatch.delenv("S3D_METRICS_ENDPOINT")
    assert cli("status").code == 3


def test_a_daemon_that_was_killed_is_not_running(cli: Cli, away: Daemon, request: pytest.FixtureRequest) -> None:
    away.kill()
    request.addfinalizer(away.start)
    assert (away.local_dir / "s3d.sock").is_socket()
    for words in (["status"], ["status", "photos/k"]):
        ran = cli(*words)
        assert ran.code == 69
        assert "s3d" in ran.err.splitlines()[0]
        assert "hint: start it with `s3d run`" in ran.err


def test_a_local_dir_with_a_long_path_can_be_asked(
    cli: Cli, away: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path.joinpath(*["d" * 60] * 3)
    long.parent.mkdir(parents=True)
    long.symlink_to(away.local_dir)
    assert cli("status", "photos", S3D_LOCAL_DIR=str(long)).code == 0


def test_a_person_reads_sentences(cli: Cli, away: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("put", "-", "films/k", stdin=b"12345")
    monkeypatch.setattr("s3d.cli.terminal.is_terminal", lambda _=None: True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert f"remote    {away.settings['S3_ENDPOINT']} " in cli("status").out.decode()
    shown = cli("status").out.decode()
    assert shown.startswith("pending   ")
    assert " not in the remote yet, the oldest since " in shown
    assert "wrong     the remote does not answer\n" in shown
    assert "object    films/k\n" in cli("status", "films/k").out.decode()
    assert " ago; " in cli("status", "films/k").out.decode()
    assert "nothing is pending" in cli("status", "films/other").out.decode()
    assert "pending   1 change, 5 B" in cli("status", "films").out.decode()


def watching(daemon: Daemon, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "s3d.cli", "status", "--watch", *words]
    environment = {"PATH": os.environ["PATH"], "NO_COLOR": "1", "TERM": "xterm", **daemon.environment}
    return subprocess.Popen(command, env=environment, **streams)


def test_watch_goes_on_while_the_daemon_is_away_and_until_it_is_interrupted(
    moto: Remote, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(moto)
    with watching(daemon, "--json", stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        seen = (json.loads(line) for line in program.stdout)
        assert "version" in next(seen)
        daemon.kill()
        assert "s3d is not running" in next(said["error"] for said in seen if "error" in said)
        daemon.start()
        assert next(said["problems"] for said in seen if "problems" in said) == []
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 130


def test_watch_draws_anew_on_a_terminal(moto: Remote, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(moto)
    ours, theirs = os.openpty()
    shown = b""
    with watching(daemon, stdout=theirs, stderr=theirs) as program:
        os.close(theirs)
        while shown.count(b"pending   nothing: the remote has everything") < 2:
            shown += os.read(ours, 4096)
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 130
    os.close(ours)
    assert shown.count(b"\x1b[2J") == 2


def test_values_are_flattened_with_their_paths() -> None:
    value = {"a": {"b": 1, "c": None}, "d": [{"e": True}, {"e": False}], "f": []}
    assert list(flatten(value)) == [("a.b", 1), ("a.c", ""), ("d.0.e", "true"), ("d.1.e", "false")]
