"""Real remotes: versitygw and MinIO as built by e2e/cluster/tools.sh, and moto.

Each runs once a session on a free loopback port. A machine that has no such program skips the tests that ask for it and
says why. `remote` is whichever a test names, else each in turn; `bucket` is a new, empty bucket of it.
"""

import functools
import os
import secrets
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.processes import Program, free_port, running, start, wait_for_http

REGION = "us-east-1"
REMOTES = ("moto", "versitygw", "minio")


@dataclass(frozen=True, slots=True)
class Remote:
    """A running S3 server."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    program: Program

    @property
    def environment(self) -> dict[str, str]:
        """What makes s3d, or any SDK, its client. The endpoint is by the name that s3d takes."""
        return {"S3_ENDPOINT": self.endpoint, **credentials(self.access_key, self.secret_key)}

    def client(self, **config: Any) -> Any:
        """A stock boto3 client that bypasses s3d."""
        return client(self.endpoint, self.access_key, self.secret_key, **config)


def credentials(access_key: str, secret_key: str) -> dict[str, str]:
    """The environment that names an account and keeps every other source of credentials out."""
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def client(endpoint: str, access_key: str = "Dummy", secret_key: str = "Dummy", **config: Any) -> Any:
    """A stock boto3 client of an endpoint that never repeats a request by itself.

    Whoever asks again gets the same one: to make it takes longer than most of its requests. What changes its client or
    needs a connection of its own makes a `new_client`.
    """
    make = new_client if config or endpoint.startswith("https:") else _kept
    return make(endpoint, access_key, secret_key, **config)


def new_client(endpoint: str, access_key: str = "Dummy", secret_key: str = "Dummy", **config: Any) -> Any:
    """A client as `client` gives it that nobody else uses."""
    settings = {"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 60, **config}
    with _making:
        return _session().client(
            "s3",
            endpoint_url=endpoint,
            config=Config(**settings),
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
        )


_kept = functools.lru_cache(maxsize=16)(new_client)


@functools.cache
def _session() -> Any:
    """One session for all clients: it reads S3's model once."""
    return boto3.session.Session(region_name=REGION)


_making = threading.Lock()
"""A session makes one client at a time."""


def cache_dir() -> Path:
    """Where the programs are that e2e/cluster builds."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("S3D_E2E_CACHE") or Path(base) / "s3d-e2e")


def find_program(name: str) -> Path:
    """The path of a built program; skips the test where there is none."""
    path = cache_dir() / "bin" / name
    if not path.exists():
        pytest.skip(f"no {name} in {path.parent}; e2e/cluster/tools.sh {name} builds it (needs Go)")
    return path


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """Moto: keeps every key byte for byte, accepts any credentials, forgets everything at its end."""
    directory = tmp_path_factory.mktemp("moto")
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    endpoint = f"http://127.0.0.1:{port}"
    with running(start(command, directory / "log", credentials("Dummy", "Dummy"))) as program:
        wait_for_http(program, f"{endpoint}/moto-api/")
        yield Remote("moto", endpoint, "Dummy", "Dummy", program)


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """Versitygw over a directory, with versions and accounts."""
    program_path = find_program("versitygw")
    directory = tmp_path_factory.mktemp("versitygw")
    require_user_xattrs(directory)
    for name in ("data", "iam", "versions"):
        (directory / name).mkdir()
    port = free_port()
    command: list[str | Path] = [
        program_path,
        *("--access", "versitygw", "--secret", "versitygwsecret", "--port", f"127.0.0.1:{port}", "--region", REGION),
        *("--iam-dir", directory / "iam", "--keep-alive", "--quiet"),
        *("posix", "--versioning-dir", directory / "versions", directory / "data"),
    ]
    endpoint = f"http://127.0.0.1:{port}"
    with running(start(command, directory / "log", {})) as program:
        wait_for_http(program, endpoint)
        yield Remote("versitygw", endpoint, "versitygw", "versitygwsecret", program)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """MinIO over a directory, with a key for server-side encryption."""
    program_path = find_program("minio")
    directory = tmp_path_factory.mktemp("minio")
    port, console = free_port(), free_port()
    command: list[str | Path] = [
        program_path,
        *("server", "--quiet", "--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"),
        directory / "data",
    ]
    environment = {
        "MINIO_ROOT_USER": "miniouser",
        "MINIO_ROOT_PASSWORD": "miniosecret",
        "MINIO_KMS_SECRET_KEY": "s3d-key:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "MINIO_UPDATE": "off",
    }
    endpoint = f"http://127.0.0.1:{port}"
    with running(start(command, directory / "log", environment)) as program:
        # It says that it is ready before it serves requests; then it refuses one without a signature.
        wait_for_http(program, endpoint, status=403)
        yield Remote("minio", endpoint, "miniouser", "miniosecret", program)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=REMOTES)
def remote(request: pytest.FixtureRequest) -> Remote:
    """Each remote in turn; `@pytest.mark.parametrize("remote", ["moto"], indirect=True)` picks."""
    chosen: Remote = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def bucket(remote: Remote) -> str:
    """A new, empty bucket of the remote."""
    name = f"test-{secrets.token_hex(6)}"
    remote.client().create_bucket(Bucket=name)
    return name


def require_user_xattrs(directory: Path) -> None:
    """Skip where the file system keeps no extended attributes (versitygw stores metadata in them)."""
    try:
        os.setxattr(directory, "user.s3d", b"1")
    except OSError as error:
        pytest.skip(f"versitygw needs extended attributes in {directory}: {error}")
