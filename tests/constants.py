"""Daemons in which some constants are others: pauses that are short, so that what comes by itself comes soon, and
bounds that few requests cross.

`start_daemon(remote, **HURRIED)`, or `**changed({"s3d.watched.INTERVAL": 0.1})`. Python runs
tests/changing/sitecustomize.py before the daemon, and the nursery what that does.
"""

import importlib
import json
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHANGING = str(ROOT / "tests" / "changing")
"""Where the daemon finds what changes them."""
VARIABLE = "CHANGED_CONSTANTS"
PAUSES: dict[str, float] = {
    "s3d.layers.queue.rules.retry.MIN_BACKOFF": 0.05,
    "s3d.layers.queue.rules.retry.MAX_BACKOFF": 0.2,
    "s3d.layers.queue.rules.retry.MIN_PROBE_BACKOFF": 0.1,
    "s3d.layers.queue.rules.retry.MAX_PROBE_BACKOFF": 0.4,
    "s3d.layers.queue.rules.retry.MIN_INTERVAL": 0.3,
    "s3d.layers.queue.remote_facts.bucket_tags.POLL_INTERVAL": 0.5,
    "s3d.watched.INTERVAL": 0.1,
}
"""Seconds."""


def changed(constants: dict[str, float]) -> dict[str, str]:
    """Settings of a daemon with these constants, by where each is kept."""
    return {"PYTHONPATH": f"{ROOT / 'sidecar'}:{CHANGING}:{ROOT}", VARIABLE: json.dumps(constants)}


HURRIED = changed(PAUSES)


def change(constants: dict[str, float]) -> None:
    """Change them in this process. Raises AttributeError for one that is not there."""
    for place, value in constants.items():
        module, _, name = place.rpartition(".")
        there = importlib.import_module(module)
        getattr(there, name)
        setattr(there, name, value)
