"""`key` and `presign`: the file that they write, and what the door makes of it."""

import json
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import Daemon
from tests.remotes import Remote, client
from tests.sidecar.cli.conftest import Cli

KEYS = [
    {"id": "app", "secret": "an-apps-secret"},
    {"id": "report", "secret": "reading-only", "readOnly": True, "buckets": ["reports"]},
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the keys are to be."""
    monkeypatch.setenv("S3D_ACCESS_KEYS_FILE", str(tmp_path / "keys.json"))
    return tmp_path / "keys.json"


@pytest.fixture(scope="module")
def guarded(moto: Remote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with keys."""
    directory = tmp_path_factory.mktemp("s3d")
    file = directory / "keys.json"
    file.write_text(json.dumps(KEYS))
    file.chmod(0o600)
    moto.client().create_bucket(Bucket="reports")
    daemon = Daemon(directory, {**moto.environment, "S3D_ACCESS_KEYS_FILE": str(file), "S3D_BUCKETS": "reports"})
    daemon.start()
    yield daemon
    daemon.kill()
    print(daemon.output()[-20000:])


def at(daemon: Daemon) -> dict[str, str]:
    """The settings by which a command finds a daemon."""
    return {"S3D_ENDPOINT": daemon.endpoint, "S3D_METRICS_ENDPOINT": daemon.metrics_endpoint}


def test_a_new_key_is_in_a_file_for_its_owner_alone(cli: Cli, file: Path) -> None:
    name, secret = cli("key", "new").lines[0]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == [{"id": name, "secret": secret}]
    assert len(secret) == 40
    other = cli("key", "new", "--id", "report", "--read-only", "--bucket", "a", "--bucket", "b", "--json").json[0]
    assert json.loads(file.read_text())[1] == {
        "id": "report",
        "secret": other["secret"],
        "readOnly": True,
        "buckets": ["a", "b"],
    }
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


def test_keys_are_listed_without_secrets(cli: Cli, file: Path) -> None:
    file.write_text(json.dumps([*KEYS, {"anonymous": True}]))
    assert cli("key", "ls").lines == [
        ["app", "1", "read and write", "all buckets"],
        ["report", "1", "read", "reports"],
        ["(anonymous)", "0", "read", "all buckets"],
    ]
    shown = cli("key", "ls", "--json")
    assert shown.json[1] == {
        "id": "report",
        "anonymous": False,
        "secrets": 1,
        "readOnly": True,
        "buckets": ["reports"],
        "identity": "",
    }
    assert b"secret-" not in shown.out


@pytest.mark.semantics("A-2a")
def test_a_key_is_rotated_in_two_steps(cli: Cli, file: Path) -> None:
    file.write_text(json.dumps(KEYS))
    assert cli("key", "rotate", "app", "--finish").code == 2
    name, secret = cli("key", "rotate", "app").lines[0]
    assert json.loads(file.read_text())[0] == {"id": name, "secrets": [secret, "an-apps-secret"]}
    again = cli("key", "rotate", "app")
    assert (again.code, again.out) == (2, b"")
    assert "s3d key rotate app --finish comes first" in again.err
    assert cli("key", "rotate", "app", "--finish").code == 0
    assert json.loads(file.read_text())[0] == {"id": name, "secrets": [secret]}
    assert json.loads(file.read_text())[1] == KEYS[1]


def test_the_file_keeps_its_mode_and_a_link_to_it_stays_one(cli: Cli, file: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "keys").write_text("[]")
    (real / "keys").chmod(0o640)
    file.symlink_to(real / "keys")
    cli("key", "new")
    assert file.is_symlink()
    assert stat.S_IMODE((real / "keys").stat().st_mode) == 0o640
    assert len(json.loads((real / "keys").read_text())) == 1


WRONG = [
    (["key", "new", "--id", "app"], "there is a key app already"),
    (["key", "new", "--id", "a/b"], "id: 3 to 128 letters"),
    (["key", "rotate", "nobody"], "there is no key nobody"),
    (["key", "test", "nobody"], "there is no key nobody"),
    (["presign", "b/k", "--expires", "8d"], "for a week at most"),
    (["presign", "b/k", "--expires", "soon"], "'soon' is not a duration"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_what_cannot_be_done_changes_nothing(cli: Cli, file: Path, words: list[str], said: str) -> None:
    file.write_text(json.dumps(KEYS))
    ran = cli(*words)
    assert (ran.code, ran.out) == (2, b"")
    assert said in ran.err
    assert "secret-" not in ran.err
    assert json.loads(file.read_text()) == KEYS


@pytest.mark.parametrize("words", [["key", "new"], ["key", "ls"], ["key", "test"], ["presign", "b/k"]])
def test_without_a_file_it_is_told_which_setting_names_it(cli: Cli, words: list[str]) -> None:
    ran = cli(*words)
    assert ran.code == 2
    assert "S3D_ACCESS_KEYS_FILE" in ran.err


def test_a_wrong_file_stops_the_daemon_before_it_starts(cli: Cli, file: Path) -> None:
    file.write_text('[{"id": "app", "secret": "short"}]')
    file.chmod(0o600)
    for words in (["run"], ["run", "--check"]):
        ran = cli(*words)
        assert ran.code == 2
        assert "entry 1: secret: 8 to 128 characters" in ran.err
        assert "short" not in ran.err
    file.write_text("[]")
    file.chmod(0o644)
    assert "opens it to others" in cli("run").err
    file.unlink()
    assert "cannot be read" in cli("run").err


def test_a_command_signs_with_the_first_key_of_the_file(cli: Cli, guarded: Daemon) -> None:
    named = {"S3D_ACCESS_KEYS_FILE": str(guarded.directory / "keys.json"), **at(guarded)}
    assert cli("put", "-", "reports/a b//+", stdin=b"data", **named).code == 0
    assert cli("get", "reports/a b//+").out == b"data"
    assert cli("set", "reports/a b//+", "--tag", "k=v").lines == [["k", "v"]]
    assert [line[2] for line in cli("ls", "-r", "reports").lines] == ["a b//+"]


def test_a_command_signs_with_the_keys_of_the_environment_where_there_is_no_file(cli: Cli, guarded: Daemon) -> None:
    refused = cli("ls", "reports", **at(guarded))
    assert refused.code == 1
    assert "sign the request" in refused.err
    assert cli("ls", "reports", AWS_ACCESS_KEY_ID="report", AWS_SECRET_ACCESS_KEY="reading-only").code == 0
    assert cli("put", "-", "reports/k", stdin=b"").code == 1
    assert "SignatureDoesNotMatch" in cli("ls", "reports", AWS_SECRET_ACCESS_KEY="another-secret").err


def test_a_key_is_tested_at_the_door(cli: Cli, guarded: Daemon, gateway: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([*KEYS, {"id": "unknown", "secret": "not-at-the-door"}]))
    named = {"S3D_ACCESS_KEYS_FILE": str(file), **at(guarded)}
    assert cli("key", "test", **named).lines == [["app", "accepted", "200"]]
    assert cli("key", "test", "report").lines == [["report", "accepted", "200"]]
    refused = cli("key", "test", "unknown")
    assert (refused.code, refused.out) == (1, b"")
    assert "InvalidAccessKeyId" in refused.err
    unguarded = cli("key", "test", **at(gateway))
    assert unguarded.code == 2
    assert "takes any signature: it has no access keys" in unguarded.err


def test_a_presigned_url_is_for_one_object_and_one_method(cli: Cli, guarded: Daemon) -> None:
    named = {"S3D_ACCESS_KEYS_FILE": str(guarded.directory / "keys.json"), **at(guarded)}
    put = cli("presign", "reports/up \u00e9", "--method", "PUT", "--expires", "5m", **named).out.decode().strip()
    assert urllib.request.urlopen(urllib.request.Request(put, b"sent", method="PUT")).status == 200
    get = cli("presign", "s3://reports/up \u00e9").out.decode().strip()
    assert "X-Amz-Expires=3600" in get
    assert urllib.request.urlopen(get).read() == b"sent"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(get.replace("up%20", "other"))


def test_status_tells_how_many_keys_there_are(guarded: Daemon) -> None:
    assert guarded.status()["access_keys"] == 2
    said: dict[str, Any] = guarded.status()["files"]["access_keys"]
    assert said["error"] == ""
    assert client(guarded.endpoint, "app", "an-apps-secret").list_buckets()
