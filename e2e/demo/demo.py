"""Show the main job: an application writes while the remote is away, and every byte arrives when it is back.

Three programs: a remote (moto, behind a relay that can refuse), `s3d run`, and this one, a stock boto3 client. The
remote goes away twice, once refusing, once silent; each time the daemon is killed with everything pending. In the end a
second client, which bypasses s3d, compares what arrived. Exit code 0: all of it arrived; 1: something did not.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from e2e.relay import control
from tests.processes import NotStarted, Program, free_port, running, start, wait_for_http

ROOT = Path(__file__).parent.parent.parent
BUCKET = "photos"
KIB, MIB = 1 << 10, 1 << 20
ARRIVAL_SECONDS = 60
KEYS = {"AWS_ACCESS_KEY_ID": "Dummy", "AWS_SECRET_ACCESS_KEY": "Dummy", "AWS_REGION": "us-east-1"}
ALONE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class Failed(Exception):
    """The demonstration did not show what it should."""


@dataclass(frozen=True, slots=True)
class Version:
    """An object as the application wrote it."""

    body: bytes
    content_type: str
    metadata: dict[str, str]
    etag: str = ""

    def differences(self, got: dict[str, Any]) -> list[str]:
        """What of a GetObject answer is not as it was written."""
        body = got["Body"].read()
        pairs = {
            "bytes": (body == self.body, f"{len(body)} bytes, {sha256(body)}, not {sha256(self.body)}"),
            "ETag": (got["ETag"] == self.etag, f"{got['ETag']}, not {self.etag}"),
            "Content-Type": (got["ContentType"] == self.content_type, f"{got['ContentType']}, not {self.content_type}"),
            "metadata": (got["Metadata"] == self.metadata, f"{got['Metadata']}, not {self.metadata}"),
        }
        return [f"{name}: {said}" for name, (equal, said) in pairs.items() if not equal]


@dataclass(slots=True)
class Story:
    """What the reader sees: plain lines, with colours on a terminal."""

    colours: bool = field(default_factory=lambda: sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    started: float = field(default_factory=time.monotonic)

    def tell(self, text: str, colour: str = "") -> None:
        """Write a line with the seconds since the start."""
        clock = f"{time.monotonic() - self.started:6.1f}s  "
        if self.colours:
            clock = f"\033[2m{clock}\033[0m"
            text = f"\033[{colour}m{text}\033[0m" if colour else text
        print(clock + text, flush=True)

    def title(self, text: str) -> None:
        """Open a scene."""
        print(flush=True)
        self.tell(text, "1;36")

    def good(self, text: str) -> None:
        """Say what went as promised."""
        self.tell(f"  ok  {text}", "32")

    def bad(self, text: str) -> None:
        """Say what did not."""
        self.tell(f"  NOT {text}", "1;31")


@dataclass(slots=True)
class Stage:
    """The programs, and what the application knows to have been acknowledged."""

    story: Story
    directory: Path
    remote: Program
    remote_port: int
    relay_port: int
    relay_control: int
    door_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    daemon: Program | None = None
    clients: dict[int, Any] = field(default_factory=dict)
    expected: dict[str, Version | None] = field(default_factory=dict)
    """None is a delete."""

    def start_daemon(self) -> Program:
        """Run `s3d run` and wait until it is ready, which never waits for the remote."""
        settings = {
            "S3D_LOCAL_DIR": str(self.directory / "local"),
            "S3D_ENDPOINT": f"http://127.0.0.1:{self.door_port}",
            "S3D_METRICS_ENDPOINT": f"http://127.0.0.1:{self.metrics_port}",
            "S3_ENDPOINT": f"http://127.0.0.1:{self.relay_port}",
            "S3D_BUCKETS": BUCKET,
            "S3D_AWAY_AFTER": "1s",
        }
        environment = {**KEYS, **ALONE, **settings, "PYTHONPATH": str(ROOT / "sidecar")}
        self.clients.pop(self.door_port, None)  # its connections ended with the process before
        self.daemon = start([sys.executable, "-m", "s3d.cli", "run"], self.directory / "s3d.log", environment)
        wait_for_http(self.daemon, f"http://127.0.0.1:{self.metrics_port}/readyz", status=200)
        return self.daemon

    def application(self) -> Any:
        """The application's client: stock boto3, whose endpoint is s3d."""
        return self.client(self.door_port)

    def auditor(self) -> Any:
        """A client that asks the remote itself, past s3d and past the relay."""
        return self.client(self.remote_port)

    def listed(self) -> set[str]:
        """The keys that the remote has."""
        return {entry["Key"] for entry in self.auditor().list_objects_v2(Bucket=BUCKET).get("Contents", [])}

    def client(self, port: int) -> Any:
        """Stock boto3, which does not repeat a request by itself."""
        if port not in self.clients:
            session = boto3.session.Session("Dummy", "Dummy", region_name="us-east-1")
            settings = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30)
            self.clients[port] = session.client("s3", endpoint_url=f"http://127.0.0.1:{port}", config=settings)
        return self.clients[port]

    def status(self) -> dict[str, Any]:
        """What s3d says about itself."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/status", timeout=10) as answer:
            status: dict[str, Any] = json.load(answer)
            return status

    def pending(self) -> int:
        """How many changes the remote has not confirmed."""
        changes: int = self.status()["pending"]["changes"]
        return changes

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream", **metadata: str) -> None:
        """Write as the application does, and believe only what is acknowledged."""
        began = time.monotonic()
        answer = self.application().put_object(
            Bucket=BUCKET, Key=key, Body=body, ContentType=content_type, Metadata=metadata
        )
        took = (time.monotonic() - began) * 1000
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        self.expected[key] = Version(body, content_type, metadata, answer["ETag"])
        kept = headers.get("x-s3d-durability", "unsaid")
        self.story.tell(f"      put    {key:28} {size(len(body)):>8}   {took:6.0f} ms   durable: {kept}")
        if answer["ETag"] != f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"':
            raise Failed(f"the ETag of {key} is {answer['ETag']}, not the MD5 of its bytes")

    def delete(self, key: str) -> None:
        """Delete as the application does."""
        self.application().delete_object(Bucket=BUCKET, Key=key)
        self.expected[key] = None
        self.story.tell(f"      delete {key}")

    def read_back(self, keys: list[str]) -> None:
        """Read what was just written, through s3d."""
        for key in keys:
            self.compare(self.application(), key)
        self.story.good(f"read back through s3d at once: {len(keys)} keys, the deleted one is gone")

    def compare(self, s3: Any, key: str) -> None:
        """Compare an object with what was acknowledged. Raises Failed."""
        version = self.expected[key]
        try:
            got = s3.get_object(Bucket=BUCKET, Key=key)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if version is None and code == "NoSuchKey":
                return
            raise Failed(f"{key}: {code}") from None
        if version is None:
            raise Failed(f"{key} was deleted and is still there")
        if differences := version.differences(got):
            raise Failed(f"{key}: {'; '.join(differences)}")

    def wait_until_delivered(self) -> None:
        """Wait until nothing is pending. Raises Failed."""
        began = time.monotonic()
        while pending := self.pending():
            if time.monotonic() - began > ARRIVAL_SECONDS:
                raise Failed(f"{pending} changes are still pending after {ARRIVAL_SECONDS} s: {self.status()}")
            time.sleep(0.1)
        self.story.good(f"everything was delivered {time.monotonic() - began:.1f} s later")


@contextlib.contextmanager
def outage(stage: Stage, kind: str) -> Iterator[None]:
    """Take the remote away, as a network does (`refusing`) or as a hanging server does (`silent`)."""
    if kind == "refusing":
        stage.story.tell("the remote goes away: every connection is refused", "33")
        control(stage.relay_control, mode="refuse")
    else:
        stage.story.tell("the remote goes away: it takes connections and says nothing (SIGSTOP)", "33")
        stage.remote.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        stage.remote.signal(signal.SIGCONT)
        control(stage.relay_control, mode="pass")
    stage.story.tell("the remote is back", "33")


def act(stage: Stage, kind: str) -> None:
    """One outage, with writes of every size, an overwrite, a delete, and a kill while all of them are pending."""
    story = stage.story
    dice = random.Random(kind)
    story.title(f"Before the {kind} outage")
    stage.put(f"{kind}/report.txt", b"first edition", "text/plain", edition="1")
    stage.put(f"{kind}/obsolete.txt", b"to be deleted", "text/plain")
    stage.wait_until_delivered()

    story.title(f"The {kind} outage")
    with outage(stage, kind):
        stage.put(f"{kind}/empty", b"")
        stage.put(f"{kind}/note é +%2F.json", dice.randbytes(4 * KIB), "application/json", author="Ada", trip="2026")
        stage.put(f"{kind}/thumbnail.png", dice.randbytes(300 * KIB), "image/png")
        stage.put(f"{kind}/film.mp4", dice.randbytes(20 * MIB), "video/mp4", camera="A7")
        stage.put(f"{kind}/report.txt", b"second edition", "text/plain; charset=utf-8", edition="2")
        stage.delete(f"{kind}/obsolete.txt")
        mine = [key for key in stage.expected if key.startswith(f"{kind}/")]
        stage.read_back(mine)
        if (pending := stage.pending()) != len(mine):
            raise Failed(f"{len(mine)} changes should be pending, not {pending}")
        story.good(f"{pending} changes are pending")
        if kind == "refusing":
            if listed := stage.listed() - {f"{kind}/report.txt", f"{kind}/obsolete.txt"}:
                raise Failed(f"the remote has {sorted(listed)} already")
            story.good("the remote, asked past the relay, has none of them")

        daemon = stage.daemon
        assert daemon is not None
        daemon.kill()
        story.tell("kill -9 of s3d, with all of it pending", "33")
        began = time.monotonic()
        stage.start_daemon()
        story.good(f"s3d is ready again {time.monotonic() - began:.1f} s later, the remote still away")
        if stage.pending() != len(mine):
            raise Failed(f"{len(mine)} changes should have survived, not {stage.pending()}")
        stage.read_back(mine)
    stage.wait_until_delivered()
    if stage.listed() != {key for key, version in stage.expected.items() if version}:
        raise Failed(f"the remote lists {sorted(stage.listed())}")


def audit(stage: Stage, *, flip: bool) -> bool:
    """Compare everything at the remote, past s3d. Whether all is equal."""
    stage.story.title("The audit: a client that bypasses s3d asks the remote")
    if flip:
        flip_a_byte(stage)
    equal = True
    for key, version in stage.expected.items():
        try:
            stage.compare(stage.auditor(), key)
        except Failed as failure:
            stage.story.bad(str(failure))
            equal = False
        else:
            said = "is gone" if version is None else f"{size(len(version.body)):>8}  sha256 {sha256(version.body)}"
            stage.story.good(f"{key:32} {said}")
    return equal


def flip_a_byte(stage: Stage) -> None:
    """Spoil one byte of one object at the remote, to show that the audit sees it."""
    s3 = stage.auditor()
    key = "silent/film.mp4"
    got = s3.get_object(Bucket=BUCKET, Key=key)
    body = bytearray(got["Body"].read())
    body[len(body) // 2] ^= 1
    s3.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType=got["ContentType"], Metadata=got["Metadata"])
    stage.story.tell(f"one bit of {key} is flipped at the remote (--flip)", "33")


@contextlib.contextmanager
def stage_set(story: Story) -> Iterator[Stage]:
    """Start the remote and the relay; whatever happens, nothing runs afterwards."""
    with tempfile.TemporaryDirectory(prefix="s3d-demo-") as folder, contextlib.ExitStack() as programs:
        directory = Path(folder)
        remote_port, relay_port, relay_control = free_port(), free_port(), free_port()
        moto = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(remote_port)]
        remote = programs.enter_context(running(start(moto, directory / "remote.log", {**KEYS, **ALONE})))
        relay = [sys.executable, "-m", "e2e.relay", f"127.0.0.1:{remote_port}"]
        relay += ["--listen", str(relay_port), "--control", str(relay_control)]
        between = programs.enter_context(running(start(relay, directory / "relay.log", {}, cwd=ROOT)))
        wait_for_http(remote, f"http://127.0.0.1:{remote_port}/moto-api/")
        wait_for_http(between, f"http://127.0.0.1:{relay_port}/moto-api/")
        stage = Stage(story, directory, remote, remote_port, relay_port, relay_control)
        story.tell(f"remote: moto, process {remote.pid}, port {remote_port} (behind a relay, port {relay_port})")
        try:
            yield stage
        finally:
            if stage.daemon:
                stage.daemon.kill()


def size(count: int) -> str:
    """Write a number of bytes for a person."""
    return f"{count} B" if count < KIB else f"{count // KIB} KiB" if count < MIB else f"{count // MIB} MiB"


def sha256(body: bytes) -> str:
    """The start of a digest, enough to compare by eye."""
    return hashlib.sha256(body).hexdigest()[:16]


def play(*, flip: bool) -> int:
    """Play it all; the exit code."""
    story = Story()
    story.title("s3d: writes that survive an outage and a crash")
    with stage_set(story) as stage:
        try:
            stage.auditor().create_bucket(Bucket=BUCKET)
            daemon = stage.start_daemon()
            story.tell(f"s3d:    s3d run, process {daemon.pid}, port {stage.door_port}")
            story.tell(f"client: stock boto3 {boto3.__version__}, process {os.getpid()}, endpoint of s3d")
            act(stage, "refusing")
            act(stage, "silent")
            equal = audit(stage, flip=flip)
        except (Failed, NotStarted) as failure:
            story.bad(str(failure))
            equal = False
        if not equal:
            log = stage.directory / "s3d.log"
            print(f"\nThe end of s3d's log:\n{log.read_text(errors='replace')[-4000:] if log.exists() else ''}")
            story.title("It did NOT arrive as it was written.")
            return 1
        story.title(f"All of it arrived: {len(stage.expected)} keys, byte for byte, after two outages and two kills.")
        return 0


def main(words: list[str]) -> int:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--flip", action="store_true", help="spoil a byte at the remote: the audit must see it")
    return play(flip=parser.parse_args(words).flip)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
