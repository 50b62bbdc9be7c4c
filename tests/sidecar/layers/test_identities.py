"""The file of identities: what it may say, what is refused, and what becomes of it as it changes (SEMANTICS A-8)."""

import json
from pathlib import Path
from typing import Any

import pytest

from s3d.errors import ConfigError, S3Error, Unavailable
from s3d.layers.credentials import Chain, Keys
from s3d.layers.identities import Identities, Known
from s3d.settings import Remote as RemoteSettings
from tests.callers import ask
from tests.daemons import StartDaemon
from tests.fakes.fake import Fake
from tests.remotes import Remote, client

A = {"name": "a", "accessKeyID": "AKA", "secretAccessKey": "secret-of-a"}
B = {"name": "b", "accessKeyID": "AKB", "secretAccessKey": "secret-of-b", "sessionToken": "token-of-b"}
WRONG: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "no JSON"),
    "no list": ("{}", "no list"),
    "no object": ('["secret-of-a"]', "entry 1"),
    "no name": (json.dumps([{"profile": "p"}]), "entry 1: name"),
    "a name that is none": (json.dumps([{**A, "name": "a b"}]), "entry 1: name"),
    "a name that is none at all": (json.dumps([{**A, "name": ""}]), "entry 1: name"),
    "no source": (json.dumps([A, {"name": "b"}]), "entry 2: give exactly one of"),
    "two sources": (json.dumps([{**A, "profile": "p"}]), "entry 1: give exactly one of"),
    "half of a source": (json.dumps([{"name": "a", "accessKeyID": "AKA"}]), "go together"),
    "the other half": (json.dumps([{"name": "a", "secretAccessKey": "secret-of-a", "profile": "p"}]), "go together"),
    "a token alone": (json.dumps([{"name": "a", "profile": "p", "sessionToken": "secret-of-a"}]), "sessionToken goes"),
    "an external id alone": (json.dumps([{"name": "a", "profile": "p", "externalID": "x"}]), "externalID goes"),
    "a token file alone": (json.dumps([{"name": "a", "profile": "p", "webIdentityTokenFile": "/t"}]), "goes with role"),
    "an unknown member": (json.dumps([{**A, "secret": "secret-of-a"}]), "entry 1: secret"),
    "the same name twice": (json.dumps([A, A]), "a is named more than once"),
    "a secret that is no text": (json.dumps([{**A, "secretAccessKey": ["secret-of-a"]}]), "entry 1: secretAccessKey"),
}


def write(path: Path, said: Any) -> None:
    """Write a file that nobody else may read."""
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    path.chmod(0o600)


async def opened(path: Path, said: Any) -> Identities:
    """The identities of a file with this content."""
    write(path, said)
    identities = Identities(RemoteSettings(identities_file=path, anonymous=True), Chain("eu", needed=False), "")
    await identities.read()
    return identities


@pytest.mark.semantics("A-8")
async def test_each_identity_has_its_own_keys(tmp_path: Path) -> None:
    (tmp_path / "accessKeyID").write_text("AKC")
    (tmp_path / "secretAccessKey").write_text("secret-of-c")
    identities = await opened(tmp_path / "file", [A, B, {"name": "c", "credentialsDir": str(tmp_path)}])
    assert [one.name for one in identities] == ["a", "b", "c"]
    assert await identities.get("a").credentials.find() == Keys("AKA", "secret-of-a", None)
    assert await identities.get("b").credentials.find() == Keys("AKB", "secret-of-b", "token-of-b")
    assert await identities.get("c").credentials.find() == Keys("AKC", "secret-of-c", None)
    assert await identities.get("").credentials.find() is None, "the gateway's own requests are not signed"


@pytest.mark.semantics("A-8")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_role_is_assumed_by_the_gateways_own_keys_wherever_these_are(
    remote: Remote, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    own, identities, keys = (tmp_path / name for name in ("own", "identities", "keys"))
    own.mkdir()
    (own / "accessKeyID").write_text("AKOWN")
    (own / "secretAccessKey").write_text("secret-of-own")
    write(identities, [{"name": "etl", "roleARN": "arn:aws:iam::123456789012:role/etl"}])
    write(keys, [{"id": "door", "secret": "of-the-door", "identity": "etl"}])
    files = {"S3D_CREDENTIALS_DIR": own, "S3D_REMOTE_IDENTITIES_FILE": identities, "S3D_ACCESS_KEYS_FILE": keys}
    without = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_ENDPOINT_URL_STS": remote.endpoint}
    daemon = start_daemon(remote, **{name: str(path) for name, path in files.items()}, **without)
    client(daemon.endpoint, "door", "of-the-door").list_buckets()
    (shown,) = daemon.status()["remote"]["identities"]
    assert (shown["name"], shown["credentials"]) == ("etl", "found")


@pytest.mark.semantics("A-8")
async def test_the_refusal_of_one_says_nothing_of_another(tmp_path: Path) -> None:
    identities = await opened(tmp_path / "file", [A, B])
    identities.get("a").standing.refused("InvalidAccessKeyId", has_key=True, looked=False)
    await identities.get("b").credentials.find()
    assert [one.state for one in identities] == ["refused", "found"]


@pytest.mark.semantics("A-8", "A-8e")
async def test_whom_nobody_names_has_no_keys(tmp_path: Path) -> None:
    identities = await opened(tmp_path / "file", [A])
    with pytest.raises(Unavailable, match="No keys are known of the identity b") as refused:
        identities.get("b")
    assert (refused.value.code, refused.value.unknown) == ("UnknownIdentity", False)
    fake = Known(Fake(), identities)
    with pytest.raises(S3Error, match="The identity b") as refused_at_the_door:
        await ask(fake, "ListBuckets", {}, identity="b")
    assert (refused_at_the_door.value.status, refused_at_the_door.value.code) == (403, "AccessDenied")
    await ask(fake, "ListBuckets", {}, identity="a")
    await ask(fake, "ListBuckets", {})


@pytest.mark.semantics("A-8f")
@pytest.mark.parametrize("what", WRONG)
async def test_a_file_that_is_wrong_is_refused_with_the_place_and_no_secret(tmp_path: Path, what: str) -> None:
    text, said = WRONG[what]
    with pytest.raises(ConfigError) as refused:
        await opened(tmp_path / "file", text)
    assert said in str(refused.value)
    assert "secret-of" not in str(refused.value)


async def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("[]")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="holds secrets"):
        await Identities(RemoteSettings(identities_file=path, anonymous=True), Chain("eu", needed=False), "").read()


@pytest.mark.semantics("A-8f")
async def test_a_changed_file_is_taken_over_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    identities = await opened(path, [A, B])
    known = identities.get("a")
    watched = identities.watched
    assert watched is not None
    write(path, "[")
    await watched.look()
    assert ("no JSON" in watched.error, [one.name for one in identities]) == (True, ["a", "b"])
    write(path, [A, {**B, "secretAccessKey": "another"}, {"name": "c", "profile": "p"}])
    await watched.look()
    assert (watched.error, [one.name for one in identities]) == ("", ["a", "b", "c"])
    assert identities.get("a") is known, "what is known of one that is as before stays"
    assert await identities.get("b").credentials.find() == Keys("AKB", "another", "token-of-b")
    write(path, [])
    await watched.look()
    assert identities.find("a") is None


@pytest.mark.semantics("A-8")
async def test_the_first_are_shown_by_name_and_the_rest_together(tmp_path: Path) -> None:
    identities = await opened(tmp_path / "file", [{**A, "name": f"i{number}"} for number in range(23)])
    identities.get("i22").standing.refused("InvalidAccessKeyId", has_key=True, looked=False)
    shown = identities.shown()
    assert [one["name"] for one in shown] == [*(f"i{number}" for number in range(20)), "other"]
    assert shown[-1] == {"name": "other", "credentials": "refused", "refusal": "InvalidAccessKeyId"}
    assert "secret-of" not in repr(shown)
