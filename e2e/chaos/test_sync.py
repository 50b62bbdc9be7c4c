"""Two gateways with a sync folder each, their users, an app and a foreign writer, over cuts and kills: where all of it
ends, and that no content is gone unless somebody who had seen it replaced it.

Each content is made once, so one that is gone is missed by its name. Who replaces or deletes something takes it away
and looks at it (an exchange of two names), or names the ETag that he has seen: what he gave up is known for sure.
S3D_E2E_SYNC_OPS says how many operations, S3D_E2E_SOAK_HOURS makes them 20,000; S3D_E2E_SEED repeats the choices.
"""

import contextlib
import os
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from s3d.sync.root import EXCHANGE, NO_REPLACE, rename
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import AWAY, Relay, Relayed
from tests.remotes import Remote
from tests.sidecar.sync.folders import files_of

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
OPERATIONS = int(os.environ.get("S3D_E2E_SYNC_OPS") or (20_000 if SOAK_HOURS else 400))
NAMES = [f"{directory}{number:02}.txt" for directory in ("", "d/", "d/e/", "f/") for number in range(50)]
PREFIX = "docs/"
TROUBLES = ("refuse", "silence", "drop")
"""How a gateway loses the remote."""


@dataclass
class Side:
    """A gateway with its folder, and where things are put that are taken out of it."""

    daemon: Daemon
    folder: Path
    aside: Path
    far: Relayed

    def called(self, name: str) -> str:
        """The whole path of a file in its folder."""
        return str(self.folder / name)


def short(content: bytes) -> str:
    """A content as the story calls it."""
    return content.split(b"x")[0].strip().replace(b" ", b"-").decode() or "nothing"


@dataclass(frozen=True)
class Act:
    """One act of the play, by a path of a folder or a name at the remote."""

    at: datetime
    called: str
    name: str
    contents: dict[str, str]

    @property
    def key(self) -> str:
        """The last part of its name, which it has on all sides."""
        return PurePath(self.name).name

    def __str__(self) -> str:
        contents = ", ".join(f"{role} {content}" for role, content in self.contents.items())
        return f"{self.at:%H:%M:%S.%f} {self.called} {self.name}: {contents}"


@dataclass
class Play:
    """All of them, and what became of each content."""

    choose: random.Random
    sides: list[Side]
    remote: Any
    bucket: str
    made: set[bytes] = field(default_factory=set)
    given_up: set[bytes] = field(default_factory=set)
    refused: set[bytes] = field(default_factory=set)
    """Contents of which nobody knows whether a store has taken them."""
    story: list[Act] = field(default_factory=list)
    """What was done, in order; of a content that is lost, the part about it and its names is shown."""

    def new(self) -> bytes:
        data = b"content %d " % len(self.made) + b"x" * self.choose.choice([0, 10, 5000])
        self.made.add(data)
        return data

    def tell(self, act: str, name: str, **contents: bytes) -> None:
        """Note what was done, for a content that is missed in the end."""
        self.story.append(Act(datetime.now(UTC), act, name, {role: short(data) for role, data in contents.items()}))

    def save(self, side: Side, name: str) -> None:
        """As an editor does: a new file takes the name in one step."""
        draft = side.aside / "draft"
        data = self.new()
        draft.write_bytes(data)
        self.tell("save", side.called(name), new=data)
        self.give(draft, side.folder / name)

    def give(self, taken: Path, path: Path) -> None:
        """Give a name a file, and look at what had it before."""
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Its directory may go just now, as one that is empty.
            with contextlib.suppress(FileNotFoundError):
                if exchanged(taken, path):
                    old = taken.read_bytes()
                    self.given_up.add(old)
                    self.tell("replaced", str(path), old=old)
                    taken.unlink()
                return

    def remove(self, side: Side, name: str) -> None:
        gone = side.aside / "gone"
        with contextlib.suppress(FileNotFoundError):
            (side.folder / name).rename(gone)
            old = gone.read_bytes()
            self.given_up.add(old)
            self.tell("remove", side.called(name), old=old)
            gone.unlink()

    def move(self, side: Side, name: str, to: str) -> None:
        taken = side.aside / "moved"
        with contextlib.suppress(FileNotFoundError):
            (side.folder / name).rename(taken)
            self.tell("move", side.called(name), moved=taken.read_bytes())
            self.give(taken, side.folder / to)

    def put(self, client: Any, name: str) -> None:
        """By S3, on the condition that nobody has written since."""
        where = {"Bucket": self.bucket, "Key": PREFIX + name}
        try:
            old = client.get_object(**where)
            seen, condition = old["Body"].read(), {"IfMatch": old["ETag"]}
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                return
            seen, condition = b"", {"IfNoneMatch": "*"}
        except BotoCoreError:
            return
        data = self.new()
        self.send("put", name, lambda: client.put_object(**where, **condition, Body=data), seen, data)

    def delete(self, client: Any, name: str) -> None:
        where = {"Bucket": self.bucket, "Key": PREFIX + name}
        with contextlib.suppress(ClientError, BotoCoreError):
            old = client.get_object(**where)
            seen = old["Body"].read()
            self.send("delete", name, lambda: client.delete_object(**where, IfMatch=old["ETag"]), seen, b"")

    def send(self, called: str, name: str, act: Callable[[], Any], seen: bytes, data: bytes) -> None:
        """What was seen is given up where it may have been replaced."""
        end = "answered"
        try:
            act()
        except ClientError as error:
            end = str(error.response["ResponseMetadata"]["HTTPStatusCode"])
            self.refused.add(data)
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                self.given_up.add(seen)
        except BotoCoreError as error:
            end = type(error).__name__
            self.refused.add(data)
            self.given_up.add(seen)
        else:
            self.given_up.add(seen)
        self.tell(f"{called} ({end})", name, seen=seen, new=data)

    def trouble(self) -> None:
        """Something happens to a gateway, or its trouble is over."""
        side = self.choose.choice(self.sides)
        match self.choose.randrange(6):
            case 0:
                side.far.set(mode=self.choose.choice(TROUBLES))
            case 1:
                side.daemon.kill()
                side.daemon.start()
            case _:
                side.far.set(mode="pass")

    def step(self) -> None:
        side, name, chance = self.choose.choice(self.sides), self.choose.choice(NAMES), self.choose.random()
        if chance < 0.45:
            self.save(side, name)
        elif chance < 0.60:
            self.remove(side, name)
        elif chance < 0.70:
            self.move(side, name, self.choose.choice(NAMES))
        elif chance < 0.85:
            self.put(self.remote, name)
        elif chance < 0.90:
            self.delete(self.remote, name)
        elif chance < 0.98:
            self.put(side.daemon.client(retries={"max_attempts": 1}, read_timeout=10), name)
        else:
            self.trouble()

    def about(self, lost: set[bytes]) -> list[str]:
        """What was done with contents, and with the keys that they had."""
        words = {short(one) for one in lost}
        keys = {act.key for act in self.story if words & {*act.contents.values()}}
        return [str(act) for act in self.story if act.key in keys]

    def there(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for page in self.remote.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=PREFIX):
            for one in page.get("Contents", []):
                body = self.remote.get_object(Bucket=self.bucket, Key=one["Key"])["Body"].read()
                found[one["Key"].removeprefix(PREFIX)] = body
        return found

    def is_settled(self) -> bool:
        """Whether each gateway has looked at both sides since and has nothing left to do."""
        for side in self.sides:
            if side.daemon.cli("sync", "wait", "--timeout", "20").returncode or not drained(side.daemon):
                return False
        there = self.there()
        return all(files_of(side.folder) == there for side in self.sides)


def rename_at(path: Path, to: Path, flags: int) -> None:
    """renameat2(2), by paths."""
    rename(-100, str(path), -100, str(to), flags)


def exchanged(path: Path, to: Path) -> bool:
    """Give a name what has another, in one step; whether something had it, and is at the other now."""
    while True:
        try:
            rename_at(path, to, NO_REPLACE)
        except FileExistsError:
            try:
                rename_at(path, to, EXCHANGE)
            except FileNotFoundError:
                continue
            return True
        return False


@pytest.mark.chaos
@pytest.mark.timeout(1800 + SOAK_HOURS * 3600)
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.semantics("S-1")
@pytest.mark.semantics("S-4")
def test_two_gateways_and_a_foreign_writer_end_equal_and_lose_nothing(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    seed = os.environ.get("S3D_E2E_SEED") or secrets.token_hex(4)
    print(f"seed {seed}, {OPERATIONS} operations")
    sides = []
    for which in ("one", "two"):
        folder, aside, far = tmp_path / which / "folder", tmp_path / which / "aside", relay(remote)
        for directory in (folder, aside):
            directory.mkdir(parents=True)
        settings = {
            "S3D_SYNC_FOLDER": "true",
            "S3D_SYNC_FOLDER_DIR": str(folder),
            "S3D_SYNC_FOLDER_BUCKET": bucket,
            "S3D_SYNC_FOLDER_PREFIX": PREFIX,
            "S3D_SYNC_FOLDER_POLL": "500ms",
            "S3D_SYNC_FOLDER_STABLE_FOR": "100ms",
            "S3D_SYNC_FOLDER_MAX_DELETE": "1",
            "S3D_SYNC_FOLDER_MAX_DELETE_FILES": "1000000",
            "S3D_BUCKETS": bucket,
        }
        sides.append(Side(start_daemon(far.remote, **settings, **AWAY), folder, aside, far))
    play = Play(random.Random(seed), sides, remote.client(), bucket)
    for _ in range(OPERATIONS):
        play.step()
    for side in sides:
        side.far.set(mode="pass")
    eventually(play.is_settled, 900)
    standing = {*play.there().values()}
    lost = play.made - play.given_up - play.refused - standing
    named = ", ".join(sorted(short(one) for one in lost))
    assert not lost, f"{named}: gone, and nobody has given them up:\n" + "\n".join(play.about(lost))
