"""The AWS SDK for Java as a stock client, a process for each verb.

Maven fetches the SDK once (java/pom.xml) and keeps it with the other programs of the tests. A machine without a JDK and
Maven, or without the registry, skips what asks for it and says why.
"""

import functools
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.compat.clients import Refused
from tests.remotes import cache_dir, credentials

SOURCES = Path(__file__).parent / "java"
FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""A process lives for one verb: what makes it start soon."""
SECONDS = 600
"""For the download, on a machine that has much to do."""


@dataclass(frozen=True, slots=True)
class AwsJava:
    """The SDK with its own defaults."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    def put(self, key: str, source: Path) -> None:
        self.run("put", key, source)

    def get(self, key: str) -> bytes:
        return self.run("get", key)

    def names(self) -> list[str]:
        return self.run("names").decode().splitlines()

    def move(self, key: str, target: str) -> None:
        self.run("move", key, target)

    def delete(self, key: str) -> None:
        self.run("delete", key)

    def run(self, *words: str | Path) -> bytes:
        """Run one verb; its output. Raises Refused with what it says."""
        environment = {
            **credentials(self.access_key, self.secret_key),
            "HOME": os.devnull,
            "LC_ALL": "C.UTF-8",
            "PATH": os.environ["PATH"],
        }
        path = f"{classes()}:{libraries()}/*"
        command = ["java", *FLAGS, "-cp", path, "Client", self.endpoint, self.bucket, *words]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=300, check=False)
        if done.returncode:
            raise Refused(f"java {' '.join(map(str, words))}: {done.stderr.decode()}")
        return done.stdout


@functools.cache
def libraries() -> Path:
    """The SDK's archives, fetched where they are not there yet."""
    there = cache_dir() / "java"
    if not there.exists():
        if shutil.which("mvn") is None or shutil.which("javac") is None:
            pytest.skip("no Maven and JDK here (Debian: maven, default-jdk-headless)")
        there.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=there.parent) as directory:
            command: list[str | Path] = ["mvn", "-q", "-B", "-f", SOURCES / "pom.xml", "dependency:copy-dependencies"]
            command += ["-DincludeScope=runtime", f"-DoutputDirectory={directory}/java"]
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
            if done.returncode:
                pytest.skip(f"Maven cannot fetch the AWS SDK for Java: {done.stdout.decode()[-500:]}")
            (Path(directory) / "java").rename(there)
    return there


@functools.cache
def classes() -> Path:
    """Where the compiled client is, for as long as this process."""
    directory = tempfile.TemporaryDirectory()
    _kept.append(directory)
    command: list[str | Path] = ["javac", "-cp", f"{libraries()}/*", "-d", directory.name, SOURCES / "Client.java"]
    subprocess.run(command, check=True, timeout=SECONDS)
    return Path(directory.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []
"""Deleted when the process ends."""
