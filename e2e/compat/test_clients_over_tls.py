"""boto3 and aws-cli at a door that speaks TLS with the certificate of a private CA: the same story as without, also
while the remote is away.
"""

import json
import random
from pathlib import Path

import pytest

from e2e.chaos.authorities import Authority
from e2e.compat.clients import AwsCli, Boto3, NewClient, wait_until_drained
from e2e.compat.test_clients import SIZES, digest, digests_at, tell_story
from tests.daemons import Daemon, StartDaemon
from tests.relays import AWAY, Relay, Relayed
from tests.remotes import Remote

CLIENTS: dict[str, NewClient] = {"boto3": Boto3, "aws-cli": AwsCli}
ID, SECRET = "S3DTESTKEY", "the/secret+of=a-client"

pytestmark = [
    pytest.mark.remote,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("remote", ["versitygw"], indirect=True),
    pytest.mark.parametrize("name", CLIENTS),
]


@pytest.fixture
def relayed(remote: Remote, relay: Relay) -> Relayed:
    """What stands between s3d and the remote."""
    return relay(remote)


@pytest.fixture
def door(
    relayed: Relayed, bucket: str, start_daemon: StartDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Daemon:
    """A door by TLS that asks for keys; this process and its clients trust its CA."""
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.certify(days=1)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    keys = tmp_path / "keys.json"
    keys.touch(0o600)
    keys.write_text(json.dumps([{"id": ID, "secret": SECRET}]))
    tls = {"S3D_TLS_CERT": certificate, "S3D_TLS_KEY": key}
    return start_daemon(relayed.remote, S3D_BUCKETS=bucket, S3D_ACCESS_KEYS_FILE=str(keys), **tls, **AWAY)


@pytest.fixture
def objects(tmp_path: Path) -> dict[str, Path]:
    """A file of each size, by the key of its object."""
    files = {name: tmp_path / name for name in SIZES}
    for name, path in files.items():
        path.write_bytes(random.Random(name).randbytes(SIZES[name]))
    return files


@pytest.mark.semantics("A-10", "R-1")
def test_a_stock_client_works_by_tls(
    name: str, door: Daemon, remote: Remote, bucket: str, objects: dict[str, Path]
) -> None:
    client = CLIENTS[name](door.endpoint, ID, SECRET, bucket)
    assert door.endpoint.startswith("https://")
    tell_story(client, door, remote, bucket, objects, objects["small"])


@pytest.mark.semantics("A-10", "D-1", "R-1")
def test_what_it_writes_in_an_outage_is_read_back_and_delivered(
    name: str, door: Daemon, remote: Remote, relayed: Relayed, bucket: str, objects: dict[str, Path]
) -> None:
    client = CLIENTS[name](door.endpoint, ID, SECRET, bucket)
    client.put("before", objects["small"])
    wait_until_drained(door)
    relayed.set(mode="refuse")
    for key, path in objects.items():
        client.put(key, path)
        assert digest(client.get(key)) == digest(path.read_bytes())
    assert door.status()["pending"]["changes"] == len(objects)
    relayed.set(mode="pass")
    wait_until_drained(door)
    there = {"before": objects["small"], **objects}
    assert digests_at(remote, bucket) == {key: digest(path.read_bytes()) for key, path in there.items()}
