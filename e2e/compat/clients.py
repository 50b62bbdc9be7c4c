"""Stock clients, each as its users run it: nothing is changed but the endpoint.

Both offer the same five verbs over one bucket, files in and bytes out, so that one story can be told by either.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import boto3

from tests.daemons import Daemon
from tests.remotes import REGION, credentials

LISTED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\d+ (.*)$", re.MULTILINE)
"""A line of `aws s3 ls --recursive`."""
EACH = """
import json, sys
from awscli.clidriver import create_clidriver
for line in sys.stdin:
    if code := create_clidriver().main(json.loads(line)):
        sys.exit(code)
"""
"""What `aws` does, for each command of the standard input."""


class Client(Protocol):
    """A user of one bucket at one endpoint."""

    def put(self, key: str, source: Path) -> None:
        """Upload a file."""

    def get(self, key: str) -> bytes:
        """Download an object."""

    def names(self) -> list[str]:
        """List the bucket."""

    def move(self, key: str, target: str) -> None:
        """Give an object another name."""

    def delete(self, key: str) -> None:
        """Remove an object."""


NewClient = Callable[[str, str, str, str], Client]
"""Endpoint, access key, secret key, bucket."""


class Boto3:
    """boto3 with its own defaults."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, bucket: str) -> None:
        session = boto3.session.Session(access_key, secret_key, region_name=REGION)
        self.s3: Any = session.client("s3", endpoint_url=endpoint)
        self._bucket = bucket

    def put(self, key: str, source: Path) -> None:
        with source.open("rb") as body:
            self.s3.put_object(Bucket=self._bucket, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        data: bytes = self.s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return data

    def names(self) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def move(self, key: str, target: str) -> None:
        self.s3.copy_object(Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": key})
        self.s3.delete_object(Bucket=self._bucket, Key=key)

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=self._bucket, Key=key)


class Refused(Exception):
    """The command ended with an error."""


@dataclass(frozen=True, slots=True)
class AwsCli:
    """The aws command with its own defaults, a process for each verb."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    def put(self, key: str, source: Path) -> None:
        if key.endswith("/"):
            # `aws s3 cp` takes such a name for a folder and appends the file's.
            self.run("s3api", "put-object", "--bucket", self.bucket, "--key", key, "--body", source)
        else:
            self.run("s3", "cp", source, self._url(key))

    def get(self, key: str) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            target = Path(directory) / "got"
            said = self.run("s3", "cp", self._url(key), target)
            names = [path.name for path in Path(directory).iterdir()]
            if not target.exists():
                raise Refused(f"there is no file of {key!r} in {names}: {said}")
            return target.read_bytes()

    def names(self) -> list[str]:
        return LISTED.findall(self.run("s3", "ls", "--recursive", f"s3://{self.bucket}"))

    def move(self, key: str, target: str) -> None:
        self.run("s3", "mv", self._url(key), self._url(target))

    def delete(self, key: str) -> None:
        self.run("s3", "rm", self._url(key))

    def run(self, *words: str | Path) -> str:
        """Run one command; its output. Raises Refused with what it says."""
        return self._run(["-m", "awscli", *words], "", f"aws {' '.join(map(str, words))}")

    def run_each(self, commands: Iterable[list[str]]) -> None:
        """Run many commands, one after the other in one process. Raises Refused with what one says."""
        self._run(["-c", EACH], "\n".join(map(json.dumps, commands)), "aws, many commands")

    def _run(self, words: list[str | Path], given: str, what: str) -> str:
        environment = {
            **credentials(self.access_key, self.secret_key),
            "AWS_ENDPOINT_URL": self.endpoint,
            "LC_ALL": "C.UTF-8",
            **{name: value for name, value in os.environ.items() if name == "AWS_CA_BUNDLE"},
        }
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *words],
            env=environment,
            input=given.encode(),
            capture_output=True,
            timeout=300 if not given else None,
            check=False,
        )
        if done.returncode:
            raise Refused(f"{what}: {done.stderr.decode()}")
        return done.stdout.decode()

    def _url(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"


def pending(daemon: Daemon) -> int:
    """How many changes the remote has not confirmed."""
    changes: int = daemon.status()["pending"]["changes"]
    return changes


def wait_until_drained(daemon: Daemon, seconds: float = 120) -> None:
    """Wait until the remote has everything."""
    end = time.monotonic() + seconds
    while pending(daemon):
        assert time.monotonic() < end, daemon.status()
        time.sleep(0.05)
