"""A long queue that a rule holds, and that another rule judges anew. S3D_E2E_SOAK_HOURS makes it a hundred thousand."""

import json
import os
import time
from pathlib import Path

import pytest

from e2e.bench import backlog
from e2e.bench.loads import BUCKET
from e2e.chaos.test_bounds import most_resident
from tests.daemons import Daemon, eventually
from tests.remotes import Remote

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
FEW, MANY = 500, 100_000 if SOAK_HOURS else 3000
SECONDS = 900
"""Within which another filter has judged all of them; how long it takes is printed."""
GROWTH = 1.3
"""How much more memory the long queue may take than the short one."""

pytestmark = pytest.mark.timeout(300 + SECONDS * 6)


def hold_and_judge(directory: Path, remote: Remote, number: int) -> int:
    """Hold so many changes by one rule, then by another, and by the first again; the most memory."""
    settings = directory / "settings.json"
    environment = {**remote.environment, "S3D_CONFIG_DIR": str(directory), "S3D_BUCKETS": BUCKET}
    # Nothing of the queue is due before the first rule holds it.
    daemon = Daemon(directory, {**environment, "S3D_WRITE_QUEUE_DELAY": "1h"})
    daemon.local_dir.mkdir()
    backlog.fill(daemon.local_dir, remote.endpoint, number, lambda at: f"held/{at:08}", held=True)
    first, second = f"!{BUCKET}/held/*", f"!{BUCKET}/held/0*"

    def is_judged_by(rule: str) -> bool:
        # The youngest is judged last.
        shown = daemon.ask(f"/status?bucket={BUCKET}&key=held/{number - 1:08}")
        return str(shown["changes"][-1]["rule"]) == f"the rule {rule} of the push filter"

    try:
        for rule in (first, second, first):
            settings.write_text(json.dumps({"S3D_WRITE_QUEUE_PUSH_FILTER": [rule]}))
            if not daemon.running:
                daemon.start()
            began, used = time.monotonic(), processor_seconds(daemon)
            eventually(lambda: is_judged_by(rule), SECONDS)  # noqa: B023 - called before the next
            took, used = time.monotonic() - began, processor_seconds(daemon) - used
            print(f"{number} held changes are judged by {rule} after {took:.1f} s, {used:.1f} s of a processor")
            assert daemon.status()["pending"]["held"] == number
        return most_resident(daemon)
    finally:
        daemon.kill()


def processor_seconds(daemon: Daemon) -> float:
    """What its process has had of a processor: on a busy machine that tells more than the time that has passed."""
    assert daemon.program is not None
    fields = Path(f"/proc/{daemon.program.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.semantics("F-4a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_long_queue_is_held_and_judged_anew_in_the_memory_of_a_short_one(remote: Remote, tmp_path: Path) -> None:
    remote.client().create_bucket(Bucket=BUCKET)
    most = {}
    for number in (FEW, MANY):
        directory = tmp_path / str(number)
        directory.mkdir()
        most[number] = hold_and_judge(directory, remote, number)
        print(f"{number} changes: {most[number] / 1e6:.1f} MB")
    assert most[MANY] < GROWTH * most[FEW]
