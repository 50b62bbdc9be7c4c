"""boto3 and aws-cli do through s3d what they do at the remote, also where their next command meets a pending change.

What arrived is read from the remote by a client that bypasses s3d.
"""

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.compat.clients import AwsCli, Boto3, Client, NewClient, pending, wait_until_drained
from tests.daemons import Daemon, StartDaemon
from tests.remotes import Remote

CLIENTS: dict[str, NewClient] = {"boto3": Boto3, "aws-cli": AwsCli}
ODD_KEYS = {
    "double-slash": "a//b",
    "dot-dot": "a/../b",
    "dot": "./x",
    "folder": "d/",
    "space": "with space",
    "plus": "a+b",
    "escaped-slash": "a%2Fb",
    "nfc": "\u00e9",
    "nfd": "e\u0301",
}
SIZES = {"empty": 0, "small": 4 << 10, "large": 100_000_000}
PUSHES = {"quick": "0s", "delayed": "2s"}

CHANGING = {
    "date": "the moment of the answer",
    "last-modified": "may move once, forward (Q-4)",
    "server": "who answered",
    "connection": "hop by hop",
    "keep-alive": "hop by hop",
    "x-amz-request-id": "one a request",
    "x-amz-id-2": "one a request",
}
"""Headers of GET and HEAD that may differ before and after the drain."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each size, and another one to overwrite it with."""
    directory = tmp_path_factory.mktemp("files")
    for name, size in {**SIZES, "other": 5000}.items():
        (directory / name).write_bytes(random.Random(name).randbytes(size))
    return {name: directory / name for name in (*SIZES, "other")}


@pytest.fixture(params=CLIENTS)
def new_client(request: pytest.FixtureRequest) -> NewClient:
    """Each client in turn."""
    return CLIENTS[request.param]


@pytest.fixture(params=PUSHES)
def gateway(remote: Remote, bucket: str, start_daemon: StartDaemon, request: pytest.FixtureRequest) -> Daemon:
    """A daemon that pushes at once, and one that lets two seconds pass."""
    return start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY=PUSHES[request.param])


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digests_at(remote: Remote, bucket: str) -> dict[str, str]:
    """What the remote itself has."""
    direct = Boto3(remote.endpoint, remote.access_key, remote.secret_key, bucket)
    return {key: digest(direct.get(key)) for key in direct.names()}


def tell_story(
    client: Client, daemon: Daemon, remote: Remote, bucket: str, objects: dict[str, Path], other: Path
) -> int:
    """Put, get, move, list, overwrite and delete, side by side; how many changes were seen pending after a write."""
    seen = 0

    def put_get_and_move(key: str) -> None:
        nonlocal seen
        client.put(key, objects[key])
        seen += pending(daemon)
        assert digest(client.get(key)) == digest(objects[key].read_bytes())
        client.move(key, f"moved/{key}")

    def put_again_and_delete(key: str) -> None:
        client.put(key, other)
        client.delete(f"moved/{key}")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(put_get_and_move, objects))
        assert sorted(client.names()) == sorted(f"moved/{key}" for key in objects)
        wait_until_drained(daemon)
        assert digests_at(remote, bucket) == {
            f"moved/{key}": digest(path.read_bytes()) for key, path in objects.items()
        }
        list(pool.map(put_again_and_delete, objects))
        assert sorted(client.names()) == sorted(objects)
    wait_until_drained(daemon)
    assert digests_at(remote, bucket) == dict.fromkeys(objects, digest(other.read_bytes()))
    return seen


@pytest.mark.remote
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("key", ODD_KEYS.values(), ids=ODD_KEYS)
def test_a_client_names_odd_keys_byte_for_byte(
    new_client: NewClient, key: str, remote: Remote, bucket: str, files: dict[str, Path]
) -> None:
    """A fact of the client, without s3d: neither normalises a key."""
    client = new_client(remote.endpoint, remote.access_key, remote.secret_key, bucket)
    client.put(key, files["small"])
    assert Boto3(remote.endpoint, remote.access_key, remote.secret_key, bucket).names() == [key]


@pytest.mark.remote
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_aws_cli_appends_the_file_to_a_key_that_ends_in_a_slash(
    remote: Remote, bucket: str, files: dict[str, Path]
) -> None:
    """A fact of the client, without s3d: only `aws s3api` can put such a key."""
    client = AwsCli(remote.endpoint, remote.access_key, remote.secret_key, bucket)
    client.run("s3", "cp", files["small"], f"s3://{bucket}/d/")
    assert client.names() == ["d/small"]


@pytest.mark.remote
@pytest.mark.semantics("A-4", "Q-1", "R-1", "R-3")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_odd_keys(new_client: NewClient, gateway: Daemon, remote: Remote, bucket: str, files: dict[str, Path]) -> None:
    """Each key is put, read, moved, listed, overwritten and deleted under the client's own bytes."""
    client = new_client(gateway.endpoint, "Dummy", "Dummy", bucket)
    objects = dict.fromkeys(ODD_KEYS.values(), files["small"])
    seen = tell_story(client, gateway, remote, bucket, objects, files["other"])
    assert seen or gateway.settings["S3D_WRITE_QUEUE_DELAY"] == "0s"


@pytest.mark.remote
@pytest.mark.semantics("D-1", "Q-1", "R-1", "R-3")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_sizes(new_client: NewClient, gateway: Daemon, remote: Remote, bucket: str, files: dict[str, Path]) -> None:
    """Nothing, 4 KiB and 100 MB."""
    client = new_client(gateway.endpoint, "Dummy", "Dummy", bucket)
    objects = {name: files[name] for name in SIZES}
    seen = tell_story(client, gateway, remote, bucket, objects, files["other"])
    assert seen or gateway.settings["S3D_WRITE_QUEUE_DELAY"] == "0s"
