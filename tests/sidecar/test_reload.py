"""What changes under a running daemon: its limits by S3D_CONFIG_DIR, its keys by S3D_CREDENTIALS_DIR."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from s3d.daemon.reload import watched_settings
from s3d.layers import credentials as wire
from s3d.layers.credentials import KeyFiles, Keys
from s3d.settings import Gateway, Settings
from tests.constants import HURRIED
from tests.daemons import StartDaemon
from tests.remotes import Remote
from tests.sidecar.layers.queue.remote_facts.test_hold_tags import keys_of


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "did not come to hold"
        time.sleep(0.02)


def mount(directory: Path, files: dict[str, str]) -> None:
    """Put files where they are seen all at once, as a kubelet does."""
    data = directory / f"..{time.monotonic_ns()}"
    data.mkdir(parents=True)
    for name, text in files.items():
        (data / name).write_text(text)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..new").symlink_to(data.name)
    (directory / "..new").rename(directory / "..data")


@pytest.mark.semantics("Q-7")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.checklist(36)
def test_a_limit_that_is_changed_beside_a_running_daemon_holds_from_then_on(
    start_daemon: StartDaemon, remote: Remote, bucket: str, tmp_path: Path
) -> None:
    directory = tmp_path / "config"
    mount(directory, {"settings.json": json.dumps({"S3D_WRITE_QUEUE_MAX_FILES": 1})})
    daemon = start_daemon(
        remote,
        S3D_CONFIG_DIR=str(directory),
        S3D_BUCKETS=bucket,
        S3D_WRITE_QUEUE_WAIT="0s",
        S3D_WRITE_QUEUE_DELAY="1h",
        **HURRIED,
    )
    s3 = daemon.client(retries={"total_max_attempts": 1})
    s3.put_object(Bucket=bucket, Key="1", Body=b"")
    with pytest.raises(ClientError, match="SlowDown"):
        s3.put_object(Bucket=bucket, Key="2", Body=b"")

    mount(directory, {"settings.json": json.dumps({"S3D_WRITE_QUEUE_MAX_FILES": 2})})
    until(lambda: daemon.output().count("settings reloaded: S3D_WRITE_QUEUE_MAX_FILES") == 2)
    s3.put_object(Bucket=bucket, Key="2", Body=b"")
    wrong = ("{", '{"S3D_BUCKETS": "other"}', '{"S3D_WRITE_QUEUE_MAX_FILES": 0}')
    for number, text in enumerate(wrong, start=1):
        mount(directory, {"settings.json": text})
        until(lambda: daemon.output().count("is not taken over") == number)  # noqa: B023
    mount(directory, {"settings.json": ""})
    with pytest.raises(ClientError, match="SlowDown"):
        s3.put_object(Bucket=bucket, Key="3", Body=b"")


@pytest.mark.semantics("F-2", "F-4a")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_filter_that_is_changed_beside_a_running_daemon_acts_and_a_wrong_one_stops_no_start(
    start_daemon: StartDaemon, remote: Remote, bucket: str, tmp_path: Path
) -> None:
    directory = tmp_path / "config"

    def say(*rules: str) -> None:
        mount(directory, {"settings.json": json.dumps({"S3D_WRITE_QUEUE_PUSH_FILTER": list(rules)})})

    say(f"!{bucket}/'held, too'")
    daemon = start_daemon(remote, S3D_CONFIG_DIR=str(directory), S3D_BUCKETS=bucket, **HURRIED)
    daemon.client().put_object(Bucket=bucket, Key="held, too", Body=b"x")
    assert daemon.status()["states"]["held"] == 1
    say(f"!{bucket}/held", "[tag:k]")
    until(lambda: "at character 1 of '[tag:k]'" in daemon.status()["files"]["settings"]["error"])
    assert daemon.status()["states"]["held"] == 1
    daemon.kill()
    daemon.start()
    assert "at character 1 of '[tag:k]'" in daemon.status()["files"]["settings"]["error"]
    say()
    until(lambda: daemon.status()["pending"]["changes"] == 0)
    assert remote.client().get_object(Bucket=bucket, Key="held, too")["Body"].read() == b"x"


SAYS_NOTHING = {
    "cut": "{",
    "wrong": '{"S3D_WRITE_QUEUE_PUSH_FILTER": ["[tag:k]"]}',
    "empty": "",
    "silent": "{}",
    "gone": None,
}


@pytest.mark.semantics("F-2a")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_start_whose_settings_do_not_say_the_push_filter_goes_on_with_the_last_one(
    start_daemon: StartDaemon, remote: Remote, bucket: str, tmp_path: Path
) -> None:
    directory = tmp_path / "config"
    held = {"settings.json": json.dumps({"S3D_WRITE_QUEUE_PUSH_FILTER": [f"!{bucket}/held*"]})}
    mount(directory, held)
    daemon = start_daemon(remote, S3D_CONFIG_DIR=str(directory), S3D_BUCKETS=bucket, **HURRIED)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="held", Body=b"x")
    for why, text in SAYS_NOTHING.items():
        daemon.kill()
        mount(directory, {} if text is None else {"settings.json": text})
        daemon.start()
        s3.put_object(Bucket=bucket, Key=f"held, {why}", Body=b"x")
        s3.put_object(Bucket=bucket, Key=why, Body=b"x")
        until(lambda: why in keys_of(remote.client(), bucket))  # noqa: B023
        status = daemon.status()
        assert status["keeps_push_filter"], why
        assert bool(status["files"]["settings"]["error"]) is (why in ("cut", "wrong")), why
    assert daemon.output().count(f"the last one stays in force: !{bucket}/held*") == len(SAYS_NOTHING)
    # A file that says it ends that; so do other start-up values, where no file is wrong.
    mount(directory, held)
    until(lambda: not daemon.status()["keeps_push_filter"])
    daemon.kill()
    mount(directory, {"settings.json": "{"})
    daemon.settings["S3D_WRITE_QUEUE_PUSH_FILTER"] = bucket
    daemon.start()
    assert daemon.status()["states"]["held"] == 1 + len(SAYS_NOTHING)
    daemon.kill()
    mount(directory, {"settings.json": ""})
    daemon.start()
    until(lambda: daemon.status()["pending"]["changes"] == 0)


@pytest.mark.semantics("R-6")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_keys_that_come_later_deliver_what_was_taken_before(
    start_daemon: StartDaemon, remote: Remote, bucket: str, tmp_path: Path
) -> None:
    directory = tmp_path / "identity"
    directory.mkdir()
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    daemon = start_daemon(remote, S3D_CREDENTIALS_DIR=str(directory), S3D_BUCKETS=bucket, **none, **HURRIED)
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"early")
    assert daemon.status()["remote"]["credentials"] == "missing"

    mount(directory, {"accessKeyID": remote.access_key, "secretAccessKey": remote.secret_key + "\n"})
    until(lambda: daemon.status()["pending"]["changes"] == 0)
    assert daemon.status()["remote"]["credentials"] == "found"
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"early"


async def test_keys_that_change_in_their_files_are_used_and_those_that_go_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "KEY_SECONDS", 0.0)
    files = KeyFiles(tmp_path)
    assert await files.keys() is None
    mount(tmp_path, {"accessKeyID": "one", "secretAccessKey": "s", "sessionToken": "t"})
    assert await files.keys() == Keys("one", "s", "t")
    mount(tmp_path, {"accessKeyID": "two", "secretAccessKey": "s"})
    assert await files.keys() == Keys("two", "s", None)
    mount(tmp_path, {})
    assert await files.keys() == Keys("two", "s", None)


WRONG = {
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "nested deep in a value": b'{"S3D_WRITE_QUEUE_WAIT": ' + b"[" * 100_000,
    "cut": b"{",
    "a list": b"[]",
    "a string": b'"S3D_WRITE_QUEUE_WAIT"',
    "null": b"null",
    "a number of many digits": b"9" * 5000,
    "not UTF-8": b'{"S3D_WRITE_QUEUE_WAIT": "\xff\xfe"}',
    "zeros": b"\0" * 100,
    "not a number": b'{"S3D_WRITE_QUEUE_WAIT": NaN}',
    "infinity": b'{"S3D_WRITE_QUEUE_WAIT": Infinity}',
    "1e999": b'{"S3D_WRITE_QUEUE_WAIT": 1e999}',
    "a size of many digits": b'{"S3D_WRITE_QUEUE_MAX_SIZE": "' + b"9" * 400 + b'"}',
    "a duration of many digits": b'{"S3D_WRITE_QUEUE_WAIT": "' + b"9" * 400 + b'"}',
    "a null": b'{"S3D_WRITE_QUEUE_MAX_FILES": null}',
    "a list as a value": b'{"S3D_WRITE_QUEUE_MAX_FILES": [1]}',
    "another setting": b'{"S3D_BUCKETS": "other"}',
    "no setting": b'{"\\ud800": 1}',
    "huge": b'{"S3D_WRITE_QUEUE_MAX_FILES": 3' + b" " * (2 << 20) + b"}",
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_settings_file_changes_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    settings = Settings(gateway=Gateway(config_dir=tmp_path))
    before = settings.model_dump()
    (tmp_path / "settings.json").write_bytes(WRONG[wrong])
    watched = watched_settings(settings, set())
    await watched.look()
    await watched.look()
    assert settings.model_dump() == before
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    (tmp_path / "settings.json").write_text('{"S3D_WRITE_QUEUE_MAX_FILES": 7}')
    await watched.look()
    assert settings.write_queue.max_files == 7


async def test_a_pipe_in_the_place_of_the_settings_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "settings.json")
    await watched_settings(Settings(gateway=Gateway(config_dir=tmp_path)), set()).look()
