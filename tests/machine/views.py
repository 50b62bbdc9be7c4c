"""What is wrong, as each of those who tell of it says it: all of them say the same, whatever has happened (O-4)."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from s3d.admin import gauges, routes
from s3d.cli.status import WRONG, exit_code
from s3d.daemon.daemon import Daemon
from s3d.layers.remote import Remote
from s3d.metrics import Metrics
from s3d.page import counts
from s3d.problems import CHANGES_DAMAGED, CHANGES_PARKED, REMOTE_AWAY, REMOTE_REFUSES
from s3d.settings import Settings
from s3d_operator.gateway_facts import GatewayFacts, Seen
from s3d_operator.pods import Report
from s3d_operator.status import status_of
from tests.model import Wrong
from tests.onion import Onion

NO_HISTORY: Mapping[str, Any] = {"interval_seconds": 300, "samples": []}
BODY: dict[str, Any] = {"metadata": {}, "spec": {"remote": {"credentials": {"anonymous": {}}}}}


def daemon_of(onion: Onion) -> Daemon:
    """What the doors ask about a gateway: its queue, and a remote whose keys are found."""
    own = SimpleNamespace(state="found", standing=SimpleNamespace(refusal=""))
    far = SimpleNamespace(
        health=onion.health, endpoint="http://remote.test", identities=SimpleNamespace(own=own, shown=list)
    )
    daemon = Daemon(Settings(), cast(Remote, far), onion.queue)
    daemon.listening = True
    return daemon


def look(onion: Onion) -> frozenset[str]:
    """What is wrong, by all who tell of it. Raises Wrong where they differ, or are not what the queue has."""
    daemon = daemon_of(onion)
    # Nothing moves between two of them: the loop does not run.
    said = cast(dict[str, Any], daemon.status())
    names = frozenset(one["name"] for one in said["problems"])
    texts = [one["text"] for one in said["problems"]]
    states, paused = onion.queue.states(), onion.queue.paused_lanes()
    owed = {CHANGES_PARKED: states.get("parked"), CHANGES_DAMAGED: states.get("quarantined"), REMOTE_REFUSES: paused}
    owed[REMOTE_AWAY] = onion.health.state == "away"
    views = {
        "the queue": (frozenset(name for name, there in owed.items() if there), names & owed.keys()),
        "the metric": (gauge(daemon, onion.metrics), names),
        "readiness": (routes.readiness(daemon).text, "\n".join(["ok", *texts, ""])),
        "the page": ([one["text"] for one in counts.read(said, NO_HISTORY).problems], texts),
        "the exit code": (exit_code(said), WRONG if names else 0),
        "the conditions": (conditions(said), wanted(said)),
    }
    for name, (tells, should) in views.items():
        if tells != should:
            raise Wrong(f"{name} tells {tells!r} of what is wrong, where it should be {should!r}")
    return names


def gauge(daemon: Daemon, metrics: Metrics) -> frozenset[str]:
    """The names of s3d_problem that are 1."""
    gauges.show(daemon, metrics)
    (family,) = metrics._problems.collect()
    return frozenset(sample.labels["problem"] for sample in family.samples if sample.value)


def conditions(said: Mapping[str, Any]) -> dict[str, str]:
    """The operator's conditions of data and of the remote, by its reading of the status."""
    report = Report.read(json.dumps(said).encode())
    found = status_of(BODY, GatewayFacts([Seen(report=report)]), datetime.now(UTC))["conditions"]
    return {one["type"]: one["status"] for one in found if one["type"] in ("DataAtRisk", "RemoteReachable")}


def wanted(said: Mapping[str, Any]) -> dict[str, str]:
    """What they should be, by the problems and the state of the remote."""
    at_risk = any(one["stake"] == "data" for one in said["problems"])
    reached = {"reachable": "True", "away": "False"}.get(said["remote"]["state"], "Unknown")
    return {"DataAtRisk": str(at_risk), "RemoteReachable": reached}
