"""Access keys change under load, and no request of who follows the steps of docs/ACCESS.md fails (SEMANTICS A-2a)."""

import http.client
import itertools
import json
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

from tests.constants import HURRIED
from tests.daemons import Daemon, StartDaemon, eventually
from tests.remotes import Remote, client

ID = "S3DTESTKEY"
SECRETS = [f"secret-{number}-of-the-door" for number in range(4)]
WRITERS = 4
ENOUGH = 10
"""Requests of each writer with a new secret, after which none is under way with the old one."""


class Keys:
    """The file with the key, replaced as a whole."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "keys.json"

    def write(self, *secrets: str) -> None:
        new = self.path.with_suffix(".new")
        new.touch(0o600)
        new.write_text(json.dumps([{"id": ID, "secrets": secrets}]))
        new.replace(self.path)


class Writers:
    """Threads that put objects, each request signed with the secret that is in use."""

    def __init__(self, endpoint: str, bucket: str) -> None:
        self.secret = SECRETS[0]
        self.over = threading.Event()
        self.failed: list[str] = []
        self.made: Counter[tuple[int, str]] = Counter()
        self._urls = {secret: url_of(endpoint, bucket, secret) for secret in SECRETS}
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(WRITERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        while not self.over.is_set():
            secret = self.secret
            status = put(self._urls[secret])
            if status != 200:
                self.failed.append(f"{status} with secret {SECRETS.index(secret)}")
            self.made[number, secret] += 1

    def have_all(self, secret: str) -> bool:
        """Whether each of them has gone on with a secret."""
        return all(self.made[number, secret] >= ENOUGH for number in range(WRITERS))


def url_of(endpoint: str, bucket: str, secret: str) -> str:
    s3 = client(endpoint, ID, secret, signature_version="s3v4")
    return str(s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "rotated"}))


def put(url: str) -> int:
    """The status of one put, over a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request("PUT", f"{parts.path}?{parts.query}", b"x")
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def is_answered(daemon: Daemon, bucket: str, secret: str, status: int) -> bool:
    return put(url_of(daemon.endpoint, bucket, secret)) == status


@pytest.mark.semantics("A-2a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_no_request_fails_while_secrets_are_rotated(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    keys = Keys(tmp_path)
    keys.write(SECRETS[0])
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_ACCESS_KEYS_FILE=str(keys.path), **HURRIED)
    with Writers(daemon.endpoint, bucket) as writers:
        for old, new in itertools.pairwise(SECRETS):
            eventually(partial(writers.have_all, old))
            keys.write(old, new)
            eventually(partial(is_answered, daemon, bucket, new, 200))
            writers.secret = new
            eventually(partial(writers.have_all, new))
            keys.write(new)
            eventually(partial(is_answered, daemon, bucket, old, 403))
    assert writers.failed == []
