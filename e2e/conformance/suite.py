"""ceph/s3-tests through the gateway, in seven modes, against what the remote alone passes.

`make conformance` runs it; S3TESTS_DIR names a checkout of the suite, which is no part of this repository nor of CI.
`base/REMOTE.txt` has the ids that the remote alone passes, twice in a row, with one account for all of the suite's
users. What passes alone and not through the gateway is lost; nothing may be, but for the ids in `accepted.txt`, each
with its reason. In the mode `keys` the door has that account as its one access key, and the ids that may be lost are in
`accepted-keys.txt`. In the modes with `cached` the cache may answer every read of a test without asking the remote. In
the last three modes each test is paused before it cleans up: what the gateway shows then must be what the remote has
after the delivery, after a SIGKILL in the last one.
"""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.conformance import views
from e2e.conformance.rgw import rgw
from tests.daemons import Daemon, StartDaemon
from tests.remotes import Remote, cache_dir, client

__all__ = ["rgw"]

HERE = Path(__file__).parent
REMOTES = ("versitygw", "minio", "rgw")
CACHE = {"S3D_READ_CACHE": "true", "S3D_READ_CACHE_FRESH_FOR": "1h"}
MODES: Mapping[str, Mapping[str, str]] = {
    "keys": {"S3D_WRITE_QUEUE": "false"},
    "through": {"S3D_WRITE_QUEUE": "false"},
    "cached": {"S3D_WRITE_QUEUE": "false", **CACHE},
    "draining": {},
    "cached-delayed": {"S3D_WRITE_QUEUE_DELAY": "2s", **CACHE},
    "delayed": {"S3D_WRITE_QUEUE_DELAY": "2s"},
    "killed": {"S3D_WRITE_QUEUE_DELAY": "1s"},
}
COMPARED = frozenset(["cached-delayed", "delayed", "killed"])
FILES = ("s3tests/functional/test_s3.py", "s3tests/functional/test_headers.py")
OWNERS = {"minio": "02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4"}
"""Canonical ids of accounts, where they are not the access key."""
LONGEST_TEST, LONGEST_RUN = 300, 5400
"""In seconds."""
DELIVERY = 60.0
"""Seconds that the delivery of what one test has written may take."""


@dataclass(slots=True)
class Outcome:
    """How one test ended: `passed`, or another word of the recorder's, and the first line of the reason."""

    word: str
    reason: str = ""


@dataclass(slots=True)
class Pause:
    """The other end of the recorder's socket: compares what the gateway shows with what the remote has."""

    daemon: Daemon
    remote: Remote
    kill: bool
    path: Path
    shown: Any = None
    """A client of the gateway, kept over its restarts."""
    delivered: Any = None
    """A client of the remote."""

    def __post_init__(self) -> None:
        self.shown = client(self.daemon.endpoint, self.remote.access_key, self.remote.secret_key)
        self.delivered = self.remote.client()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Answer the recorder for as long as the context lasts."""
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(self.path))
            door.listen()
            thread = threading.Thread(target=self._serve, args=(door,), daemon=True)
            thread.start()
            yield
            door.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _serve(self, door: socket.socket) -> None:
        while True:
            try:
                connection, _ = door.accept()
            except OSError:
                return
            # A test that was given up does not wait for its answer; the next one is still answered.
            with (
                contextlib.suppress(ConnectionError),
                connection,
                connection.makefile("rw", encoding="utf-8") as stream,
            ):
                prefix = stream.readline().strip()
                try:
                    wrong = self.compare(prefix)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is this test's
                    wrong = f"{type(error).__name__}: {error}"
                stream.write(" ".join(wrong.split()) + "\n")

    def compare(self, prefix: str) -> str:
        """What the gateway showed of a test's buckets and the remote does not have; "" where there is nothing."""
        shown = views.take(self.shown, prefix)
        if self.kill:
            self.daemon.kill()
            self.daemon.start()
        left = self.deliver([name for name in shown if "/" not in name])
        return left or views.difference(shown, views.take(self.delivered, prefix))

    def deliver(self, buckets: list[str]) -> str:
        """Wait until nothing is pending; what is left in vain. A listing of versions has its bucket pushed first."""
        for bucket in buckets:
            self.shown.list_object_versions(Bucket=bucket, MaxKeys=1)
        end = time.monotonic() + DELIVERY
        while (pending := self.daemon.status()["pending"])["changes"]:
            if pending["parked"] or pending["held"] or time.monotonic() > end:
                return f"not delivered: {pending}"
            time.sleep(0.05)
        return ""


def settings_of(mode: str, directory: Path, remote: Remote) -> dict[str, str]:
    """The settings of a mode. With keys, a file has the remote's account as the one that the door knows."""
    if mode != "keys":
        return dict(MODES[mode])
    path = directory / "keys.json"
    path.write_text(json.dumps([{"id": remote.access_key, "secret": remote.secret_key}]))
    path.chmod(0o600)
    return {**MODES[mode], "S3D_ACCESS_KEYS_FILE": str(path)}


def checkout() -> Path:
    """The checkout of the suite."""
    if "S3TESTS_DIR" not in os.environ:
        pytest.fail("S3TESTS_DIR must name a checkout of ceph/s3-tests (commit 8f0ae7b was used)")
    return Path(os.environ["S3TESTS_DIR"])


def write_settings(path: Path, remote: Remote, endpoint: str) -> None:
    """Write the suite's own settings: one account for all of its users."""
    host, _, port = endpoint.removeprefix("http://").rpartition(":")
    owner = OWNERS.get(remote.name, remote.access_key)
    account = (
        f"display_name = {owner}\nuser_id = {owner}\nemail = s3d@example.com\n"
        f"access_key = {remote.access_key}\nsecret_key = {remote.secret_key}\n"
    )
    lines = [f"[DEFAULT]\nhost = {host}\nport = {port}\nis_secure = False\nssl_verify = False\n"]
    lines += ["[fixtures]\nbucket prefix = s3d-{random}-\niam name prefix = s3d-\niam path prefix = /s3d/\n"]
    lines += [f"[s3 main]\n{account}api_name =\nlc_debug_interval = 1\nkms_keyid = s3d-key\n"]
    lines += [f"[s3 alt]\n{account}", f"[s3 tenant]\n{account}tenant = testx\n"]
    lines += [f"[{name}]\n{account}" for name in ("iam", "iam root", "iam alt root")]
    path.write_text("".join(lines))


def run(directory: Path, remote: Remote, endpoint: str, ids: set[str], pause: Path | None = None) -> dict[str, Outcome]:
    """Run tests of the suite against an endpoint; how each of them ended."""
    settings, wanted, output = directory / "s3tests.conf", directory / "ids", directory / "outcomes.tsv"
    write_settings(settings, remote, endpoint)
    wanted.write_text("\n".join(sorted(ids)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "S3D_"))}
    environment |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "S3TEST_CONF": str(settings),
        "S3D_CONFORMANCE_IDS": str(wanted),
        "S3D_CONFORMANCE_OUTPUT": str(output),
        **({"S3D_CONFORMANCE_PAUSE": str(pause)} if pause else {}),
    }
    command = [
        os.environ.get("S3TESTS_PYTHON", "python3"),
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
    ]
    command += ["-p", "recorder", f"--timeout={LONGEST_TEST}", "--durations=20", *FILES]
    with (directory / "suite.log").open("wb") as log:
        ended = subprocess.run(
            command, cwd=checkout(), env=environment, stdout=log, stderr=log, timeout=LONGEST_RUN, check=False
        )
    assert ended.returncode in (0, 1), (directory / "suite.log").read_text(errors="replace")[-4000:]
    lines = [line.split("\t") for line in output.read_text().splitlines()]
    return {name: Outcome(word, reason) for name, word, reason in lines}


def listed(path: Path) -> dict[str, str]:
    """The ids of a file, each with what stands behind it."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: reason.strip() for name, _, reason in (line.partition(" ") for line in lines)}


def base(remote: Remote) -> set[str]:
    """The ids that the remote alone passes; S3TESTS_IDS may name a file of others to be tried."""
    chosen = os.environ.get("S3TESTS_IDS")
    return set(listed(Path(chosen) if chosen else HERE / "base" / f"{remote.name}.txt"))


@pytest.fixture(params=REMOTES)
def remote(request: pytest.FixtureRequest) -> Remote:
    """Each remote in turn."""
    chosen: Remote = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def place() -> Path:
    """A directory for what a run leaves behind: short, since it holds a socket."""
    path = cache_dir() / "conformance" / time.strftime("%m%d-%H%M%S")
    path.mkdir(parents=True)
    print(f"\nwhat this run leaves is in {path}")
    return path


@pytest.mark.timeout(2 * LONGEST_RUN)
def test_the_remote_alone_passes_its_base(remote: Remote, place: Path) -> None:
    outcomes = run(place, remote, remote.endpoint, base(remote))
    passed = {name for name, outcome in outcomes.items() if outcome.word == "passed"}
    known = set(listed(HERE / "base" / f"{remote.name}.txt"))
    print(f"{remote.name} alone: {len(passed)} of {len(outcomes)} passed")
    print("\n".join(["passed and not in the base:", *sorted(passed - known)]))
    assert not (known & set(outcomes)) - passed


@pytest.mark.timeout(2 * LONGEST_RUN)
@pytest.mark.parametrize("mode", MODES)
def test_the_gateway_loses_nothing_that_the_remote_passes(
    remote: Remote, place: Path, mode: str, start_daemon: StartDaemon
) -> None:
    known = set(listed(HERE / "base" / f"{remote.name}.txt"))
    accepted = listed(HERE / ("accepted-keys.txt" if mode == "keys" else "accepted.txt"))
    daemon = start_daemon(remote, S3D_LOG_FORMAT="text", **settings_of(mode, place, remote))
    pause = Pause(daemon, remote, mode == "killed", place / "pause")
    with pause.serving():
        outcomes = run(place, remote, daemon.endpoint, base(remote), pause.path if mode in COMPARED else None)
    kept = {name for name in known & set(outcomes) if outcomes[name].word == "passed"}
    lost = {name for name in (known & set(outcomes)) - kept if name not in accepted}
    gained = {name for name in set(outcomes) - known if outcomes[name].word == "passed"}
    asked = known & set(outcomes)
    print(f"{remote.name}, {mode}: kept {len(kept)} of {len(asked)}, lost {len(lost)}, gained {len(gained)}, ", end="")
    print(f"accepted {len(asked) - len(kept) - len(lost)}")
    print("".join(f"  lost {n}: {outcomes[n].word}: {outcomes[n].reason}\n" for n in sorted(lost)), end="")
    print("".join(f"  gained {n}\n" for n in sorted(gained)), end="")
    assert not lost
    assert daemon.running
