"""Real S3 clients through the gateway, against what the remote alone serves to them.

`make clients` runs it; S3D_CLIENTS names a script that takes an endpoint, a file and scenarios, and writes a line of
scenario, `ok`, `FAIL` or `absent`, seconds and last words for each; neither it nor the clients are part of this
repository. `base/REMOTE-clients.txt` has the scenarios that pass on the remote alone; each of them passes in each mode,
and then the remote has what the gateway shows. Where the gateway is killed, that is after each scenario.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from e2e.conformance import views
from e2e.conformance.suite import HERE, MODES, Outcome, listed, place, settings_of
from tests.daemons import StartDaemon, drained, eventually
from tests.remotes import Remote, client

__all__ = ["place"]

REMOTES = ("versitygw", "minio")
LONGEST_RUN = 3600
"""In seconds, for all scenarios of one run."""


@pytest.fixture(params=REMOTES)
def remote(request: pytest.FixtureRequest) -> Remote:
    """Each remote in turn."""
    chosen: Remote = request.getfixturevalue(request.param)
    return chosen


def chosen(remote: Remote) -> list[str]:
    """The scenarios that S3D_CLIENT_SCENARIOS names, else those that the remote alone serves."""
    return os.environ.get("S3D_CLIENT_SCENARIOS", "").split() or sorted(base(remote))


def scenarios(place: Path, remote: Remote, endpoint: str, way: str, names: Sequence[str] = ()) -> dict[str, Outcome]:
    """Run scenarios, all of them unless some are named here or by S3D_CLIENT_SCENARIOS; how each of them ended."""
    if "S3D_CLIENTS" not in os.environ:
        pytest.fail("S3D_CLIENTS must name the script that runs the clients")
    output = place / f"{remote.name}-{way}.tsv"
    account = {"AWS_ACCESS_KEY_ID": remote.access_key, "AWS_SECRET_ACCESS_KEY": remote.secret_key}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "S3D_"))}
    names = names or os.environ.get("S3D_CLIENT_SCENARIOS", "").split()
    words = [os.environ["S3D_CLIENTS"], endpoint, str(output), *names]
    with (place / f"{remote.name}-{way}.log").open("ab") as log:
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
@pytest.mark.parametrize("mode", MODES)
def test_the_gateway_serves_every_client_that_the_remote_serves(
    remote: Remote, place: Path, mode: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_LOG_FORMAT="text", **settings_of(mode, place, remote))
    if mode == "killed":
        outcomes: dict[str, Outcome] = {}
        for name in chosen(remote):
            outcomes |= scenarios(place, remote, daemon.endpoint, mode, [name])
            daemon.kill()
            daemon.start()
    else:
        outcomes = scenarios(place, remote, daemon.endpoint, mode)
    asked, kept = base(remote) & set(outcomes), passed(outcomes)
    lost, gained = sorted(asked - kept), sorted(kept - base(remote))
    print(f"{remote.name}, {mode}: kept {len(asked & kept)} of {len(asked)}, lost {len(lost)}, gained {gained}")
    print("".join(f"  lost {name}: {outcomes[name].reason}\n" for name in lost), end="")
    assert not lost
    assert daemon.running
    eventually(lambda: drained(daemon))
    shown = client(daemon.endpoint, remote.access_key, remote.secret_key)
    assert views.difference(views.take(shown, ""), views.take(remote.client(), "")) == ""


def passed(outcomes: dict[str, Outcome]) -> set[str]:
    """The scenarios that passed."""
    return {name for name, outcome in outcomes.items() if outcome.word == "ok"}
