"""How a folder is kept, as the settings say."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from s3d.sync.deletes import Deletes
from s3d.sync.guards import Limits
from s3d.sync.plan import Direction


@dataclass(frozen=True, slots=True)
class Options:
    """How a folder is kept."""

    path: Path
    endpoint: str
    direction: Direction
    leaves_out: Callable[[str, int], str]
    most: int
    """How many files both sides may have; 0: any number."""
    limits: Limits
    deletes: Deletes
    max_age: float
    """Seconds; 0: any age."""
    poll: float
    stable_for: float
    trash_for: float
