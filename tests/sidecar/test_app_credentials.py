"""The access key that the daemon makes for applications (SEMANTICS A-2d)."""

import configparser
import json
import stat
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from s3d.cli import signing
from s3d.door import app_credentials
from s3d.errors import ConfigError
from tests.clients import code_of
from tests.daemons import StartDaemon, eventually
from tests.remotes import Remote, client


def key_in(file: Path) -> tuple[str, str]:
    said = configparser.RawConfigParser()
    said.read(file)
    return said["default"]["aws_access_key_id"], said["default"]["aws_secret_access_key"]


@pytest.mark.semantics("A-2d")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.server
def test_an_app_with_the_file_is_served_also_after_a_restart_and_nobody_else(
    start_daemon: StartDaemon, remote: Remote, bucket: str, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    daemon = start_daemon(remote, S3D_APP_CREDENTIALS_FILE=str(file), S3D_BUCKETS=bucket)
    made = key_in(file)
    client(daemon.endpoint, *made).put_object(Bucket=bucket, Key="k", Body=b"text")
    with pytest.raises(urllib.error.HTTPError) as unsigned:
        urllib.request.urlopen(f"{daemon.endpoint}/{bucket}/k")
    assert (unsigned.value.code, made[1] in daemon.output()) == (403, False)
    wrong = client(daemon.endpoint, made[0], "another-secret")
    assert code_of(wrong.get_object, Bucket=bucket, Key="k") == "SignatureDoesNotMatch"
    daemon.kill()
    daemon.start()
    assert key_in(file) == made
    assert client(daemon.endpoint, *made).get_object(Bucket=bucket, Key="k")["Body"].read() == b"text"


@pytest.mark.semantics("A-2d")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.server
def test_the_key_holds_beside_those_of_the_keys_file_also_when_that_changes(
    start_daemon: StartDaemon, remote: Remote, bucket: str, tmp_path: Path
) -> None:
    file, keys = tmp_path / "credentials", tmp_path / "keys.json"

    def write(name: str) -> None:
        part = tmp_path / "part"
        part.write_text(json.dumps([{"id": name, "secret": "a-secret-of-it"}]))
        part.chmod(0o600)
        part.replace(keys)

    def takes(name: str, secret: str) -> bool:
        try:
            client(daemon.endpoint, name, secret).head_bucket(Bucket=bucket)
        except ClientError:
            return False
        return True

    write("one")
    settings = {"S3D_APP_CREDENTIALS_FILE": str(file), "S3D_ACCESS_KEYS_FILE": str(keys)}
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **settings)
    assert takes("one", "a-secret-of-it")
    assert takes(*key_in(file))
    write("two")
    eventually(lambda: takes("two", "a-secret-of-it"))
    assert not takes("one", "a-secret-of-it")
    assert takes(*key_in(file))


@pytest.mark.semantics("A-5b")
def test_the_file_is_whole_and_may_be_read_by_other_users(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    (tmp_path / ".credentials.part").write_text("left by a start that was killed")
    key = app_credentials.keep(file)
    assert key_in(file) == (key.id, *key.secrets)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [file]
    assert app_credentials.keep(file) == key


@pytest.mark.parametrize("text", ["", "[default]\n", "aws_access_key_id = x", "[default]\naws_access_key_id=abc\n"])
def test_a_file_that_is_none_of_ours_stops_the_start_and_stays(tmp_path: Path, text: str) -> None:
    file = tmp_path / "credentials"
    file.write_text(text)
    with pytest.raises(ConfigError, match="has no key that s3d has made"):
        app_credentials.keep(file)
    assert file.read_text() == text


def test_a_file_that_others_can_write_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    app_credentials.keep(file)
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="others can write it"):
        app_credentials.keep(file)


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"S3D_APP_CREDENTIALS_FILE: .* cannot be written"):
        app_credentials.keep(tmp_path / "none" / "credentials")


def test_commands_sign_with_it_where_there_is_no_keys_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    monkeypatch.setenv("S3D_APP_CREDENTIALS_FILE", str(file))
    with pytest.raises(ConfigError, match="has no key to sign with"):
        signing.find()
    key = app_credentials.keep(file)
    assert signing.find() == signing.Key(key.id, *key.secrets)
