"""`s3d doctor` finds what a new user gets wrong, and says what to do."""

import os
import secrets
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from s3d.cli.doctor import of_clock
from tests.daemons import StartDaemon
from tests.fakes.contents import Bucket
from tests.processes import free_port
from tests.remotes import Remote, credentials
from tests.sidecar.cli.conftest import Cli, respond, scripted
from tests.sidecar.layers.queue.push.odd_answers import s3_error
from tests.stores import Store


@pytest.fixture
def place() -> dict[str, str]:
    """Ports at which nobody listens."""
    return {
        "S3D_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "S3D_METRICS_ENDPOINT": f"http://127.0.0.1:{free_port()}",
    }


def found(cli: Cli, code: int, *words: str, **environment: str) -> dict[str, list[dict[str, Any]]]:
    """The findings, by what they are about."""
    ran = cli("doctor", "--json", *words, **environment)
    assert ran.code == code, ran.out
    things: dict[str, list[dict[str, Any]]] = {}
    for finding in ran.json:
        things.setdefault(finding["about"], []).append(finding)
    assert all(finding["hint"] for finding in ran.json if finding["grade"] == "wrong")
    return things


@pytest.mark.parametrize("remote", ["moto", "versitygw"], indirect=True)
def test_where_all_is_well_it_says_so_and_leaves_nothing(
    cli: Cli, remote: Remote, place: dict[str, str], tmp_path: Path
) -> None:
    bucket = f"doctor-{secrets.token_hex(4)}"
    remote.client().create_bucket(Bucket=bucket)
    shell = {"AWS_ENDPOINT_URL_S3": place["S3D_ENDPOINT"]}
    things = found(cli, 0, "--write", bucket, **remote.environment, **place, **shell)
    assert {*things} == {"settings", "shell", "port", "disk", "room", "keys", "remote", "clock", "bucket", "write"}
    assert {one["grade"] for about in things if about not in ("disk", "room") for one in things[about]} == {"ok"}
    assert "Contents" not in remote.client().list_objects_v2(Bucket=bucket)
    assert not (tmp_path / "local").exists()


def test_it_tells_a_person_a_line_each(cli: Cli, moto: Remote, place: dict[str, str]) -> None:
    ran = cli("doctor", **moto.environment, **place)
    assert ran.code == 0
    assert ran.lines[0][:2] == ["ok", "settings"]
    assert ran.lines[1][:2] == ["note", "shell"]
    assert ran.lines[1][3] == f"export AWS_ENDPOINT_URL_S3={place['S3D_ENDPOINT']}"


def test_settings_that_are_wrong_end_it(cli: Cli) -> None:
    things = found(cli, 1, S3D_WRITE_QUEU="true")
    assert [*things] == ["settings"]
    assert "did you mean S3D_WRITE_QUEUE" in things["settings"][0]["text"]


def test_another_program_on_a_port_is_told_from_s3d(
    cli: Cli, moto: Remote, place: dict[str, str], start_daemon: StartDaemon
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        door, metrics = found(cli, 1, **moto.environment, **place | {"S3D_ENDPOINT": url})["port"]
    assert (door["grade"], metrics["grade"]) == ("wrong", "ok")
    assert door["hint"] == "end it, or set S3D_ENDPOINT to another port"
    daemon = start_daemon(moto)
    running = {"S3D_ENDPOINT": daemon.endpoint, "S3D_METRICS_ENDPOINT": daemon.metrics_endpoint}
    door, metrics = found(cli, 0, **moto.environment, **running)["port"]
    assert (door["text"], metrics["text"]) == (
        f"s3d listens at {daemon.endpoint}",
        f"s3d listens at {daemon.metrics_endpoint}",
    )


def test_a_place_that_takes_no_files_is_wrong(cli: Cli, moto: Remote, place: dict[str, str]) -> None:
    (disk,) = found(cli, 1, **moto.environment, **place, S3D_LOCAL_DIR="/dev/null/s3d")["disk"]
    assert (disk["grade"], disk["text"]) == ("wrong", "/dev/null takes no files: Not a directory")


def test_a_queue_that_is_larger_than_the_disk_is_worth_a_note(cli: Cli, moto: Remote, place: dict[str, str]) -> None:
    (room,) = found(cli, 0, **moto.environment, **place, S3D_WRITE_QUEUE_MAX_SIZE="900Ti")["room"]
    assert room["grade"] == "note"


def test_a_remote_that_is_not_there_is_wrong(cli: Cli, place: dict[str, str]) -> None:
    environment = {"S3_ENDPOINT": f"http://127.0.0.1:{free_port()}", **credentials("a", "b"), **place}
    (remote,) = found(cli, 1, **environment)["remote"]
    assert (remote["grade"], "is away" in remote["text"]) == ("wrong", True)


def test_a_web_server_is_no_s3_store(cli: Cli, place: dict[str, str]) -> None:
    page = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"
    with scripted(page) as server:
        (remote,) = found(cli, 1, S3_ENDPOINT=server.url, **credentials("a", "b"), **place)["remote"]
    assert remote["text"] == f"what answers at {server.url} is no S3 store"


def test_keys_that_are_missing_and_keys_that_are_refused_are_told_apart(
    cli: Cli, versitygw: Remote, place: dict[str, str]
) -> None:
    (keys,) = found(cli, 0, **versitygw.environment, **place)["keys"]
    assert keys["grade"] == "ok"
    given, refused = found(cli, 1, **versitygw.environment | {"AWS_SECRET_ACCESS_KEY": "wrong"}, **place)["keys"]
    assert (given["grade"], refused["text"]) == ("ok", "the remote refuses them: SignatureDoesNotMatch")
    # In a process of its own: the SDK looks for keys in files.
    without = {name: value for name, value in versitygw.environment.items() if not name.startswith("AWS_")}
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    ran = subprocess.run(
        [sys.executable, "-m", "s3d.cli", "doctor"], env=without | nowhere | place, capture_output=True, check=False
    )
    assert (
        ran.returncode,
        b"wrong\tkeys\tNo AWS credentials were found for the remote\tset AWS_ACCESS_KEY_ID" in ran.stdout,
    ) == (1, True)


def test_a_bucket_that_is_not_there_is_wrong(cli: Cli, moto: Remote, place: dict[str, str]) -> None:
    name = f"none-{secrets.token_hex(4)}"
    (bucket,) = found(cli, 1, **moto.environment, **place, S3D_BUCKETS=name)["bucket"]
    assert bucket["text"] == f"there is no bucket {name}"


def test_a_bucket_that_the_other_style_finds_says_which(cli: Cli, versitygw: Remote, place: dict[str, str]) -> None:
    name = f"doctor-{secrets.token_hex(4)}"
    versitygw.client().create_bucket(Bucket=name)
    # No name server knows a bucket before an address.
    wrong = {"S3D_ADDRESSING": "virtual", "S3D_BUCKETS": name}
    (bucket,) = found(cli, 1, **versitygw.environment, **place, **wrong)["bucket"]
    assert bucket["text"] == f"bucket {name} is found only by requests that name it in the path"
    assert bucket["hint"] == "set S3D_ADDRESSING=path"
    (bucket,) = found(cli, 0, **versitygw.environment, **place, **wrong | {"S3D_ADDRESSING": "path"})["bucket"]
    assert bucket["grade"] == "ok"


def test_a_store_that_looks_for_buckets_in_host_names_says_so(
    cli: Cli, place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more, **named: resolve("127.0.0.1", *more, **named))
    end: dict[str, Any] = {"Connection": "close", "x-amz-request-id": "4442"}
    buckets = respond("200 OK", b"<ListAllMyBucketsResult></ListAllMyBucketsResult>", **end)
    missing = respond("404 Not Found", **end)
    with scripted(buckets, missing, respond("200 OK", **end)) as server:
        url = server.url.replace("127.0.0.1", "store.test")
        environment = {"S3_ENDPOINT": url, **credentials("a", "b"), **place, "S3D_BUCKETS": "photos"}
        (bucket,) = found(cli, 1, **environment)["bucket"]
    assert bucket["hint"] == "set S3D_ADDRESSING=virtual"
    assert b"HEAD /photos HTTP" in server.requests[1]
    assert b"Host: photos.store.test" in server.requests[2]


def test_a_remote_that_refuses_trailing_checksums_says_what_to_set(cli: Cli, place: dict[str, str]) -> None:
    with Store().serving() as store:
        store.fake.buckets["photos"] = Bucket("photos", 0.0)
        store.hook(s3_error(501, "NotImplemented"), "PutObject", header="x-amz-trailer")
        environment = {"S3_ENDPOINT": store.endpoint, **credentials("a", "b"), **place}
        wrong = [one for one in found(cli, 1, "--write", "photos", **environment)["write"] if one["grade"] != "ok"]
        assert [one["hint"] for one in wrong] == ["set S3D_CHECKSUMS=when_required"]
        found(cli, 0, "--write", "photos", **environment, S3D_CHECKSUMS="when_required")
        assert not any(store.fake.buckets["photos"].keys.values())


@pytest.mark.parametrize("ahead, grade", [(0, "ok"), (-300, "note"), (300, "note"), (-1000, "wrong"), (1000, "wrong")])
def test_a_clock_is_judged_by_how_far_signatures_carry(ahead: float, grade: str) -> None:
    shown = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    assert of_clock(shown).grade == grade
    assert of_clock("no date").grade == "note"


def test_write_needs_a_bucket(cli: Cli) -> None:
    assert cli("doctor", "--write").code == 2
