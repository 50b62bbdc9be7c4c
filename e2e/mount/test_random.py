"""Random operations on the mount do what they do on a local file system, while the remote comes and goes.

S3D_E2E_SOAK_HOURS makes them a million; S3D_E2E_SEED makes them others, and S3D_E2E_STEPS says how many.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.mount.twins import Twins
from tests.mounts import Mounted
from tests.relays import AWAY, Relay
from tests.remotes import Remote

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
STEPS = int(os.environ.get("S3D_E2E_STEPS") or (1_000_000 if SOAK_HOURS else 3000))
SEED = os.environ.get("S3D_E2E_SEED", "s3d")
FLAP = 500
"""Steps from one change of the remote to the next: each return is noticed after a second or more."""

pytestmark = [pytest.mark.parametrize("remote", ["versitygw"], indirect=True), pytest.mark.timeout(600 + STEPS // 20)]


@pytest.mark.semantics("M-1", "M-2", "M-4", "M-6")
def test_random_operations_do_what_they_do_on_a_disk_while_the_remote_flaps(
    remote: Remote, bucket: str, mount: Callable[..., Mounted], relay: Relay, tmp_path: Path
) -> None:
    relayed = relay(remote)
    mounted = mount(relayed.remote, bucket, S3D_READ_CACHE="true", **AWAY)
    twins = Twins(mounted, relayed, tmp_path / "disk", random.Random(SEED))
    for step in range(STEPS):
        if step % FLAP == 0:
            twins.flap()
        try:
            twins.step()
        except BaseException:
            print(f"step {step} of seed {SEED}, the remote on {twins.mode}: {dict(twins.done)}")
            raise
    twins.end()
    print(f"{STEPS} operations of seed {SEED}: {dict(twins.done)}")
