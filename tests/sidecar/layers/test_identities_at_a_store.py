"""Two accounts of a real store behind one door: each acts with its own rights, whatever becomes of the other (A-8)."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients import code_of
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import AWAY, Relay
from tests.remotes import Remote, client, find_program

pytestmark = pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
DOOR = [{"id": f"door-{name}", "secret": f"secret-of-door-{name}", "identity": name} for name in ("a", "b")]


def account(remote: Remote, name: str) -> dict[str, str]:
    """An account of the store that may do nothing by itself, as the file of identities names it."""
    access, secret = f"account-{name}-{os.getpid()}", f"secret-of-{name}"
    admin = ["admin", "--endpoint-url", remote.endpoint, "--access", remote.access_key, "--secret", remote.secret_key]
    words = ["create-user", "--access", access, "--secret", secret, "--role", "user"]
    made = subprocess.run([find_program("versitygw"), *admin, *words], capture_output=True, check=False)
    assert made.returncode == 0 or b"exists" in made.stderr + made.stdout, made
    return {"name": name, "accessKeyID": access, "secretAccessKey": secret}


def allow(remote: Remote, bucket: str, a: str, b: str) -> None:
    """Let one account do everything in a bucket, and the other read and write a part of it."""

    def statement(account: str, actions: list[str], *resources: str) -> dict[str, Any]:
        arns = [f"arn:aws:s3:::{resource}" for resource in resources]
        return {"Effect": "Allow", "Principal": {"AWS": [account]}, "Action": actions, "Resource": arns}

    of_b = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    statements = [statement(a, ["s3:*"], bucket, f"{bucket}/*"), statement(b, of_b, f"{bucket}/shared/*")]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    remote.client().put_bucket_policy(Bucket=bucket, Policy=policy)


class Door:
    """A daemon with a key of the door for each identity."""

    def __init__(self, remote: Remote, bucket: str, directory: Path, start: Callable[..., Daemon]) -> None:
        """Make the accounts and the files, and start it."""
        self.bucket = bucket
        self.identities = directory / "identities.json"
        self.accounts = [account(remote, name) for name in ("a", "b")]
        allow(remote, bucket, *(one["accessKeyID"] for one in self.accounts))
        keys = directory / "keys.json"
        keys.write_text(json.dumps(DOOR))
        keys.chmod(0o600)
        self.name(*self.accounts)
        files = {"S3D_ACCESS_KEYS_FILE": str(keys), "S3D_REMOTE_IDENTITIES_FILE": str(self.identities)}
        self.daemon = start(**files)
        signed = {"signature_version": "s3v4"}
        self.a, self.b = (client(self.daemon.endpoint, one["id"], one["secret"], **signed) for one in DOOR)

    def name(self, *accounts: dict[str, str]) -> None:
        """Write the file of the identities anew."""
        new = self.identities.with_suffix(".new")
        new.write_text(json.dumps(accounts))
        new.chmod(0o600)
        new.replace(self.identities)

    def credentials(self) -> dict[str, str]:
        """What status says of the identities' keys."""
        return {one["name"]: one["credentials"] for one in self.daemon.status()["remote"]["identities"]}


@pytest.mark.semantics("A-8", "A-8a", "A-8b")
def test_each_has_its_own_rights_and_its_own_health(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    door = Door(remote, bucket, tmp_path, lambda **settings: start_daemon(remote, **settings))
    for number in range(3):
        for key in (f"own/{number}", f"shared/{number}"):
            door.a.put_object(Bucket=bucket, Key=key, Body=b"of a")
    assert code_of(door.b.put_object, Bucket=bucket, Key="own/2", Body=b"of b") == "AccessDenied"
    door.b.put_object(Bucket=bucket, Key="shared/b", Body=b"of b")
    assert code_of(door.b.get_object, Bucket=bucket, Key="own/2") == "AccessDenied"
    assert code_of(door.b.list_objects_v2, Bucket=bucket) == "AccessDenied"
    assert door.b.get_object(Bucket=bucket, Key="shared/2")["Body"].read() == b"of a"
    assert door.a.get_object(Bucket=bucket, Key="shared/b")["Body"].read() == b"of b"
    shown = [one["Key"] for one in door.a.list_objects_v2(Bucket=bucket)["Contents"]]
    assert shown == ["own/0", "own/1", "own/2", "shared/0", "shared/1", "shared/2", "shared/b"]
    eventually(lambda: drained(door.daemon))
    assert door.credentials() == {"a": "found", "b": "found"}
    a, b = door.accounts
    door.name(a, {**b, "secretAccessKey": "another-secret"})
    eventually(lambda: code_of(door.b.get_object, Bucket=bucket, Key="shared/2") == "SignatureDoesNotMatch")
    door.a.put_object(Bucket=bucket, Key="own/3", Body=b"of a")
    assert door.credentials()["a"] == "found"
    assert "secret-of" not in door.daemon.output()


@pytest.mark.semantics("C-2", "C-4", "C-9a")
@pytest.mark.parametrize("fresh_for", ["0s", "1h"])
def test_whom_the_store_refuses_is_never_given_what_is_cached_for_another(
    remote: Remote, bucket: str, start_daemon: StartDaemon, relay: Relay, tmp_path: Path, fresh_for: str
) -> None:
    relayed = relay(remote)
    cache = {"S3D_READ_CACHE": "true", "S3D_READ_CACHE_FRESH_FOR": fresh_for}
    door = Door(remote, bucket, tmp_path, lambda **settings: start_daemon(relayed.remote, **AWAY, **cache, **settings))
    named = {"Bucket": bucket, "Key": "own/k"}
    remote.client().put_object(**named, Body=b"secret")

    def read_by_a() -> tuple[str, bytes]:
        answer = door.a.get_object(**named)
        return answer["ResponseMetadata"]["HTTPHeaders"]["x-cache"], answer["Body"].read()

    def answers_to_b() -> set[str]:
        url = door.b.generate_presigned_url("get_object", Params=named)
        whole, part = code_of(door.b.get_object, **named), code_of(door.b.get_object, **named, Range="bytes=0-0")
        return {whole, part, code_of(door.b.head_object, **named), presigned(url)}

    assert read_by_a() == ("MISS", b"secret")
    eventually(lambda: door.daemon.status()["read_cache"]["entries"] == 1)
    assert read_by_a() == ("REVALIDATED" if fresh_for == "0s" else "HIT", b"secret")
    assert answers_to_b() == {"AccessDenied", "403"}
    relayed.set(mode="refuse")
    eventually(lambda: read_by_a()[0] == ("STALE" if fresh_for == "0s" else "HIT"))
    assert answers_to_b() == {"ServiceUnavailable", "503"}
    assert read_by_a()[1] == b"secret"


def presigned(url: str) -> str:
    """The status of a URL that somebody was given, or what it gives."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return f"{answer.read()!r}"
    except urllib.error.HTTPError as error:
        return str(error.code)


@pytest.mark.semantics("A-8e", "Q-2a")
def test_what_is_pending_of_an_identity_that_is_named_no_more_waits_for_it(
    remote: Remote, bucket: str, start_daemon: StartDaemon, relay: Relay, tmp_path: Path
) -> None:
    relayed = relay(remote)
    door = Door(remote, bucket, tmp_path, lambda **settings: start_daemon(relayed.remote, **AWAY, **settings))
    for s3, key in ((door.a, "own/warm"), (door.b, "shared/warm")):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    relayed.set(mode="refuse")
    eventually(lambda: code_of(door.a.get_object, Bucket=bucket, Key="own/warm") == "ServiceUnavailable")
    door.b.put_object(Bucket=bucket, Key="shared/k", Body=b"of b")
    door.a.put_object(Bucket=bucket, Key="shared/k2", Body=b"of a")
    door.name(door.accounts[0])
    eventually(lambda: code_of(door.b.put_object, Bucket=bucket, Key="shared/x", Body=b"") == "AccessDenied")
    relayed.set(mode="pass")
    eventually(lambda: code_of(remote.client().head_object, Bucket=bucket, Key="shared/k2") == "")

    def lanes() -> list[tuple[str, str, str]]:
        return [(lane["identity"], lane["state"], lane["code"]) for lane in door.daemon.ask("/status")["lanes"]]

    eventually(lambda: lanes() == [("b", "paused", "UnknownIdentity")])
    assert code_of(remote.client().head_object, Bucket=bucket, Key="shared/k") == "404", "nobody else has pushed it"
    door.name(*door.accounts)
    eventually(lambda: drained(door.daemon))
    assert remote.client().get_object(Bucket=bucket, Key="shared/k")["Body"].read() == b"of b"
