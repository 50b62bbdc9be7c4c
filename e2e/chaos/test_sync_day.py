"""The remote is away for a day, by the daemon's clock, while people go on in the folder and others at the remote: what
both sides have afterwards, name by name."""

import hashlib
import os
import random
import secrets
from pathlib import Path

import pytest

from e2e.chaos.clocks import Clock
from s3d.sync.names import conflict_copy
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import AWAY, Relay
from tests.remotes import Remote
from tests.sidecar.sync.folders import files_of
from tests.sidecar.test_sync_folder import start, state, there

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
HOURS, STEPS = 24, 4
"""How long it is away, and in how many steps."""
EDITS, FILES, FOREIGN = (1000, 150, 100) if SOAK_HOURS else (150, 40, 25)
"""The edits in the folder and the files that there are; so many of them are changed at the remote, too."""
FIRST = "000.txt"
"""What is changed as the first file, and never again."""


@pytest.mark.chaos
@pytest.mark.timeout(600)
# The others refuse requests of another day.
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.semantics("S-1")
@pytest.mark.semantics("S-1b")
@pytest.mark.semantics("S-2")
def test_a_day_offline_costs_nobody_his_work(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, clock: Clock, tmp_path: Path
) -> None:
    seed = os.environ.get("S3D_E2E_SEED") or secrets.token_hex(4)
    print(f"seed {seed}")
    choose = random.Random(seed)
    folder, far, other = tmp_path / "folder", relay(remote), remote.client()
    folder.mkdir()
    here = {f"{number:03}.txt": b"base of %d" % number for number in range(FILES)}
    for name, data in here.items():
        (folder / name).write_bytes(data)
    daemon = start(start_daemon, far.remote, bucket, folder, **AWAY, **clock.environment)
    eventually(lambda: is_settled(daemon), 300)
    base, far_away = dict(here), dict(here)

    far.set(mode="refuse")
    here[FIRST] = b"the first edit"
    (folder / FIRST).write_bytes(here[FIRST])
    for step in range(STEPS):
        for number in range(step * EDITS // STEPS, (step + 1) * EDITS // STEPS):
            name = choose.choice([one for one in base if one != FIRST])
            if choose.random() < 0.15 and name in here:
                (folder / name).unlink()
                del here[name]
            else:
                here[name] = b"edit %d" % number
                (folder / name).write_bytes(here[name])
        is_handed_over(daemon)
        clock.jump(HOURS * 3600 // STEPS)
        if step == STEPS // 2:
            daemon.kill()
            daemon.start()
    for number, name in enumerate(choose.sample([*base], FOREIGN)):
        if choose.random() < 0.2:
            other.delete_object(Bucket=bucket, Key=f"docs/{name}")
            del far_away[name]
        else:
            far_away[name] = b"theirs %d" % number
            other.put_object(Bucket=bucket, Key=f"docs/{name}", Body=far_away[name])
    assert daemon.status()["pending"]["oldest_age_seconds"] >= HOURS * 3600

    far.set(mode="pass")
    expected = merged(base, here, far_away)
    eventually(lambda: is_settled(daemon), 300)
    assert files_of(folder) == expected
    assert there(remote, bucket) == expected
    assert state(daemon)["conflicts"] == len(expected.keys() - base.keys())


def is_settled(daemon: Daemon) -> bool:
    """Both sides have been looked at since, nothing is left to do, and all of it is at the remote. The command that
    waits for it would sleep by the clock that has jumped."""
    began = daemon.ask("/sync/do?what=now", "POST")["began"]
    eventually(lambda: state(daemon)["ended"] > began)
    now = state(daemon)
    return now["state"] == "quiet" and not now["unsent"] and drained(daemon)


def is_handed_over(daemon: Daemon) -> None:
    """The folder has been looked at, and what was saved is in the queue."""
    began = state(daemon)["began"]
    eventually(lambda: state(daemon)["ended"] > began + 1 and state(daemon)["unsent"] == 0)


def merged(base: dict[str, bytes], here: dict[str, bytes], far_away: dict[str, bytes]) -> dict[str, bytes]:
    """What both sides have to have: each name on its own."""
    found: dict[str, bytes] = {}
    for name, was in base.items():
        mine, theirs = here.get(name), far_away.get(name)
        kept = theirs if mine == was else mine if theirs == was else theirs or mine
        found |= {name: kept} if kept else {}
        if mine and theirs and was not in (mine, theirs):
            found[conflict_copy(name, hashlib.sha256(mine).digest())] = mine
    return found
