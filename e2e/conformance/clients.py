"""Real S3 clients through the gateway, against what the remote alone serves to them.

`make clients` runs it; S3D_CLIENTS names a script that takes an endpoint and a file, and writes a line of
scenario, `ok`, `FAIL` or `absent`, seconds and last words for each; neither it nor the clients are part of this
repository. `base/REMOTE-clients.txt` has the scenarios that pass on the remote alone; each of them passes in each mode.
"""

import os
import subprocess
from pathlib import Path

import pytest

from e2e.conformance.suite import HERE, MODES, Outcome, listed, place
from tests.daemons import StartDaemon
from tests.remotes import Remote

__all__ = ["place"]

REMOTES = ("versitygw", "minio")
LONGEST_RUN = 3600
"""In seconds, for all scenarios of one run."""


@pytest.fixture(params=REMOTES)
def remote(request: pytest.FixtureRequest) -> Remote:
    """Each remote in turn."""
    chosen: Remote = request.getfixturevalue(request.param)
    return chosen


def scenarios(place: Path, remote: Remote, endpoint: str, way: str) -> dict[str, Outcome]:
    """Run every scenario, or those that S3D_CLIENT_SCENARIOS names; how each of them ended."""
    if "S3D_CLIENTS" not in os.environ:
        pytest.fail("S3D_CLIENTS must name the script that runs the clients")
    output = place / f"{remote.name}-{way}.tsv"
    account = {"AWS_ACCESS_KEY_ID": remote.access_key, "AWS_SECRET_ACCESS_KEY": remote.secret_key}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "S3D_"))}
    words = [os.environ["S3D_CLIENTS"], endpoint, str(output), *os.environ.get("S3D_CLIENT_SCENARIOS", "").split()]
    with (place / f"{remote.name}-{way}.log").open("wb") as log:
        subprocess.run(words, env={**environment, **account}, stdout=log, stderr=log, timeout=LONGEST_RUN, check=False)
    # Last words may hold a carriage return, which a text file would take for the end of a line.
    lines = [line.split("\t") for line in output.read_bytes().decode().rstrip("\n").split("\n")]
    return {name: Outcome(word, reason) for name, word, _, reason in lines}


def base(remote: Remote) -> set[str]:
    """The scenarios that the remote alone serves."""
    return set(listed(HERE / "base" / f"{remote.name}-clients.txt"))


@pytest.mark.timeout(2 * LONGEST_RUN)
def test_the_remote_alone_serves_its_base(remote: Remote, place: Path) -> None:
    outcomes = scenarios(place, remote, remote.endpoint, "alone")
    print(f"{remote.name} alone: {len(passed(outcomes))} of {len(outcomes)} passed")
    assert not (base(remote) & set(outcomes)) - passed(outcomes)


@pytest.mark.timeout(2 * LONGEST_RUN)
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "killed"])
def test_the_gateway_serves_every_client_that_the_remote_serves(
    remote: Remote, place: Path, mode: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_LOG_FORMAT="text", **MODES[mode])
    outcomes = scenarios(place, remote, daemon.endpoint, mode)
    asked, kept = base(remote) & set(outcomes), passed(outcomes)
    lost, gained = sorted(asked - kept), sorted(kept - base(remote))
    print(f"{remote.name}, {mode}: kept {len(asked & kept)} of {len(asked)}, lost {len(lost)}, gained {gained}")
    print("".join(f"  lost {name}: {outcomes[name].reason}\n" for name in lost), end="")
    assert not lost
    assert daemon.running


def passed(outcomes: dict[str, Outcome]) -> set[str]:
    """The scenarios that passed."""
    return {name for name, outcome in outcomes.items() if outcome.word == "ok"}
