"""Reasons to halt a folder before anything of a plan is done (SEMANTICS S-2, S-5). Pure.

Each is something that looks like what a person may have done, and much more often is a volume that is not mounted, a
restore of a backup or a program that went wrong. A halted folder deletes nothing and replaces nothing on either side,
until a person says what was meant, or until it is gone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from s3d.sync.plan import Action, Do

MIN_DELETES = 10
"""So many deletes never halt by their share alone: a small folder may well lose half of its files."""


class Halt(StrEnum):
    """Why a folder is halted."""

    MARKER_MISSING = "MarkerMissing"
    OTHER_FOLDER = "OtherFolder"
    OTHER_REMOTE = "OtherRemote"
    FOLDER_EMPTY = "FolderEmpty"
    REMOTE_EMPTY = "RemoteEmpty"
    REMOTE_ROLLED_BACK = "RemoteRolledBack"
    FOLDER_ROLLED_BACK = "FolderRolledBack"
    MASS_DELETE = "MassDelete"


MEANING: Mapping[Halt, str] = {
    Halt.MARKER_MISSING: "the folder's marker is gone, so it may be another volume, or none",
    Halt.OTHER_FOLDER: "the marker in the folder is that of another one",
    Halt.OTHER_REMOTE: "the folder was synced with another bucket, prefix or endpoint before",
    Halt.FOLDER_EMPTY: "every file is gone from the folder at once",
    Halt.REMOTE_EMPTY: "every object is gone from the remote at once",
    Halt.REMOTE_ROLLED_BACK: "many objects have gone back to what they were before, as after a restore",
    Halt.FOLDER_ROLLED_BACK: "the folder has gone back to what it was before, as after a restore",
    Halt.MASS_DELETE: "more files would be deleted at once than is allowed",
}

AS_NEW = (
    "see that the right volume is there; where it is, `s3d sync resume --as-new` compares both sides as two that never "
    "met: nothing is deleted, and what differs is kept twice"
)
ACCEPT = (
    "put back what is missing, or where it is meant, say `s3d sync resume --accept-deletes`; `--as-new` brings back "
    "what one side has still"
)
SET_BACK = (
    "`s3d sync resume --as-new` brings back what was newer, and keeps twice what differs; where the older files are "
    "meant, `--accept-deletes` sends them, and deletes what they do not have"
)
HINTS: Mapping[Halt, str] = {
    Halt.MARKER_MISSING: AS_NEW,
    Halt.OTHER_FOLDER: AS_NEW,
    Halt.OTHER_REMOTE: AS_NEW,
    Halt.FOLDER_EMPTY: ACCEPT,
    Halt.REMOTE_EMPTY: ACCEPT,
    Halt.REMOTE_ROLLED_BACK: ACCEPT,
    Halt.FOLDER_ROLLED_BACK: SET_BACK,
    Halt.MASS_DELETE: ACCEPT,
}
"""What a person can do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be deleted at once."""

    share: float = 0.5
    """Of the files that both sides have had."""
    count: int = 1000


@dataclass(frozen=True, slots=True)
class Tally:
    """What a plan would do."""

    files: int
    """That both sides have had."""
    drops_here: int = 0
    """Deletes in the folder, without moves."""
    drops_there: int = 0
    pushes: int = 0
    pulls: int = 0
    moves: int = 0
    returned: int = 0
    """Objects that have gone back to what they were before."""
    returned_here: int = 0
    """The same of files."""
    old_here: int = 0
    """Deletes in the folder that are not applied, since the files are too old (S-4c)."""
    old_there: int = 0


def tally(actions: Iterable[Action], files: int) -> Tally:
    """Count a plan whose moves are named. A move is neither delete nor loss."""
    here = there = moves = pushes = pulls = returned = returned_here = old_here = old_there = 0
    for action in actions:
        pushes += action.do is Do.PUSH
        pulls += action.do is Do.PULL
        if action.goes_to:
            moves += 1
        elif action.do is Do.DROP_HERE:
            here += 1
        elif action.do is Do.DROP_THERE:
            there += 1
        returned += action.returned and action.do is Do.PULL
        returned_here += action.returned and action.do is Do.PUSH
        old_here += action.instead_of is Do.DROP_HERE
        old_there += action.instead_of is Do.DROP_THERE
    return Tally(files, here, there, pushes, pulls, moves, returned, returned_here, old_here, old_there)


def halt(counted: Tally, limits: Limits) -> Halt | None:
    """Why the plan must not be done; None where nothing speaks against it."""
    if counted.drops_there and counted.drops_there + counted.old_there == counted.files and not counted.pushes:
        return Halt.FOLDER_EMPTY
    if counted.drops_here and counted.drops_here + counted.old_here == counted.files and not counted.pulls:
        return Halt.REMOTE_EMPTY
    if _is_much(counted.returned, counted.files, limits):
        return Halt.REMOTE_ROLLED_BACK
    if _is_much(counted.returned_here, counted.files, limits):
        return Halt.FOLDER_ROLLED_BACK
    if _is_much(counted.drops_here + counted.drops_there, counted.files, limits):
        return Halt.MASS_DELETE
    return None


def _is_much(number: int, files: int, limits: Limits) -> bool:
    return number > limits.count or number > max(MIN_DELETES, limits.share * files)
