"""What clients were told, and what may be there afterwards.

The oracle is the promise in its weakest form: a key ends as its last acknowledged change, or as one that ran at the
same time as that or whose answer never came. A change is over when its client has the answer or the broken connection:
a process that is killed does nothing later.
"""

import json
import math
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Outcome = Literal["open", "acknowledged", "failed"]
ABSENT = "absent"
"""Stands for the digest of a key that is not there."""


@dataclass(slots=True, eq=False)
class Change:
    """One put or delete, as its client saw it. Times are monotonic seconds."""

    key: str
    digest: str
    started: float
    ended: float = math.inf
    outcome: Outcome = "open"


@dataclass(slots=True)
class Ledger:
    """All changes of all clients. An acknowledged one is on stable storage here before its client goes on."""

    path: Path
    changes: list[Change] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _fd: int = -1

    def __post_init__(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def begin(self, key: str, digest: str) -> Change:
        """Note a change that is about to be sent."""
        change = Change(key, digest, time.monotonic())
        with self._lock:
            self.changes.append(change)
        return change

    def end(self, change: Change, outcome: Outcome) -> None:
        """Note how a change ended."""
        change.ended, change.outcome = time.monotonic(), outcome
        os.write(self._fd, json.dumps(asdict(change)).encode() + b"\n")
        os.fdatasync(self._fd)

    def count(self, outcome: Outcome) -> int:
        """How many changes ended so."""
        return sum(change.outcome == outcome for change in self.changes)

    def histories(self) -> dict[str, list[Change]]:
        """The changes of each key."""
        histories: dict[str, list[Change]] = defaultdict(list)
        for change in self.changes:
            histories[change.key].append(change)
        return histories

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def permitted(history: Iterable[Change]) -> set[str]:
    """The digests as which a key may end that was absent before its history."""
    changes = [Change("", ABSENT, -math.inf, -math.inf, "acknowledged"), *history]
    latest = max(change.started for change in changes if change.outcome == "acknowledged")
    return {change.digest for change in changes if change.ended >= latest}
