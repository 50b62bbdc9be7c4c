"""What makes a folder and a prefix of a bucket equal, decided path by path from three trees. Pure.

The rules, each of which holds for whatever the trees say (the numbers are sentences of SEMANTICS):

- A delete is planned only where the other side has exactly the base (S-2). New content beats a delete.
- What is not known counts as it was: a tree that was not walked in whole never makes a name absent (S-2). An upload and
  a delete at the remote always name the ETag that they expect, so that even a wrong guess changes nothing.
- Where both sides are new, the remote's content takes the name and what is here becomes a conflict copy (S-1). The
  remote is the side that all gateways see, so all of them choose alike.
- A base counts once the remote itself was seen to have it. Until then it is believed as long as the gateway shows it;
  where that shows something else, the upload was discarded, and both sides are two that never met (S-2b).
- A path that is out of scope is left alone, and its base is forgotten: when it comes back, both sides are compared as
  two that never met (S-4).
- What nobody has changed lately, where the folder has an age, is neither sent, fetched nor deleted (S-4c). What both
  sides have of it stays known, so that an edit is one; what one side alone has is forgotten, like what is out of scope.
- A delete that was not applied is never applied later (S-5a), until both sides have the path again.
- What cannot be on the other side is left alone (S-6), and so is all that is below a name of which nobody knows what it
  is (S-7).

Who acts on a plan may be late. So each action says what must still be true: `expects` at the remote, `content` here.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from s3d.sync.names import why_not
from s3d.sync.trees import Base, Content, Here, Kind, Row, There, side_by_side

BEING_WRITTEN = "it is being written"
"""The reason for which a file is left alone that will be sent when it is at rest."""
TOO_OLD = "nobody has changed it for longer than the folder's age"
SPARED = "one side has deleted it, and the other keeps it"


class Do(StrEnum):
    """What is to be done with a path."""

    PUSH = "push"
    """Upload what is here, if the remote has `expects`."""
    PULL = "pull"
    """Download the object with the ETag `expects`. What it takes the place of is kept in the trash where it is
    `content`, and becomes a conflict copy where it is anything else."""
    DROP_HERE = "drop-here"
    """Move the file to the trash, if it is `content`."""
    DROP_THERE = "drop-there"
    """Delete the object, if the remote has `expects`."""
    ADOPT = "adopt"
    """Both sides are equal: remember that."""
    FORGET = "forget"
    """Remember nothing of the path."""
    LEAVE = "leave"
    """Do nothing, and say why."""


ADDS = (Do.PUSH, Do.PULL, Do.ADOPT)
DROPS = (Do.DROP_HERE, Do.DROP_THERE)
NOTES = (Do.ADOPT, Do.FORGET)
"""What changes neither side."""


class Direction(StrEnum):
    """Which side follows the other."""

    BOTH = "Bidirectional"
    PUSH = "Push"
    PULL = "Pull"


@dataclass(frozen=True, slots=True)
class Action:
    """What is to be done with a path, and what it takes for granted."""

    path: str
    do: Do
    expects: str = ""
    """The ETag that the remote has; "" for no object."""
    content: Content | None = None
    """Of PUSH and ADOPT what is here; of PULL what may be replaced, None for nothing; of a drop what is dropped."""
    size: int = 0
    """Of what PULL downloads."""
    is_conflict: bool = False
    """Whether both sides are new."""
    keeps: bool = False
    """Of PUSH: whether what it replaces at the remote is downloaded to the trash before."""
    returned: bool = False
    """Of PULL and PUSH: whether the other side had this before."""
    adds: bool = False
    """Whether both sides have it then for the first time; not of a conflict, where each of them has something."""
    source: str = ""
    """Of PUSH and PULL: the path that the content has moved from; its drop is planned too."""
    source_etag: str = ""
    """What the remote has at `source`, where it was moved here."""
    goes_to: str = ""
    """Of a drop: the path that the content has moved to, which must have it first."""
    has_moved: bool = False
    """Whether an earlier round has made `goes_to`."""
    copied_from: tuple[str, str] | None = None
    """Of PUSH: a path, and the ETag under which the remote has the same content there."""
    reason: str = ""
    """Why a path is left alone or forgotten."""
    instead_of: Do | None = None
    """What is not done with a path that is too old."""
    spares: bool = False
    """Of LEAVE: whether a delete is not applied, for good."""


def in_scope(_path: str, _size: int) -> str:
    """The scope that holds all."""
    return ""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a folder is planned."""

    direction: Direction = Direction.BOTH
    prefix: str = ""
    here_is_whole: bool = True
    """Whether a name that the tree of the folder does not show is not in it."""
    there_is_whole: bool = True
    """Whether a name that the tree of the remote does not show is not there. Pages that were remembered, are stale or
    show only what is pending leave names out."""
    leaves_out: Callable[[str, int], str] = in_scope
    """Why a path with a size is out of scope; "" where it is not."""
    most: int = 0
    """How many files both sides may have; 0: any number."""
    since: float = 0.0
    """Since when somebody must have changed a path, in Unix seconds; 0: ever."""


def plan(here: Iterable[Here], there: Iterable[There], base: Iterable[Base], rules: Rules) -> Iterator[Action]:
    """Decide each path, in order."""
    above: list[tuple[str, Kind]] = []
    for row in side_by_side(here, there, base):
        while above and not row.path.startswith(above[-1][0]):
            above.pop()
        blocked = next((kind for path, kind in above if row.path.startswith(f"{path}/")), None)
        action = judge(row, rules, blocked)
        if action:
            yield action
        if row.here and row.here.kind is not Kind.DIRECTORY:
            above.append((row.path, row.here.kind))
        elif action and action.do is Do.PULL:
            above.append((row.path, Kind.FILE))


def judge(row: Row, rules: Rules, blocked: Kind | None = None) -> Action | None:
    """Decide one path; None where there is nothing to do. `blocked` is what stands where a directory above it should
    be."""
    if row.there is None and row.base is None and (row.here is None or row.here.kind is Kind.DIRECTORY):
        return None
    reason = why_not(row.path, rules.prefix) or _out_of_scope(row, rules)
    if reason:
        return Action(row.path, Do.FORGET if row.base else Do.LEAVE, reason=reason)
    reason = _unknown(row, blocked)
    if reason:
        return Action(row.path, Do.LEAVE, reason=reason)
    known = _as_it_was(row, rules)
    if not (known.here or known.there or known.base):
        return Action(row.path, Do.FORGET)
    action = BY_DIRECTION[rules.direction](known)
    if action and action.do is Do.PULL:
        if blocked:
            return Action(row.path, Do.LEAVE, reason="a part of its path is a file here")
        if row.here and row.here.kind is Kind.DIRECTORY:
            return Action(row.path, Do.LEAVE, reason="it is a directory here")
    if action and action.do not in NOTES and rules.since and changed(row) < rules.since:
        return _too_old(row, rules, action)
    if action and action.do in DROPS and row.base and row.base.is_spared:
        return Action(row.path, Do.LEAVE, reason=SPARED, spares=True)
    if action and row.base is None and action.do in ADDS and not action.is_conflict:
        return replace(action, adds=True)
    return action


def _out_of_scope(row: Row, rules: Rules) -> str:
    sizes = {row.here.content.size} if row.here and row.here.content else set()
    sizes |= {row.there.size} if row.there else set()
    if not sizes and row.base:
        sizes = {row.base.content.size}
    return next((reason for size in sorted(sizes or {0}) if (reason := rules.leaves_out(row.path, size))), "")


def changed(row: Row) -> float:
    """When the younger side of a path was changed, in Unix seconds; nobody knows of one that neither side shows, and it
    counts as old (F-5)."""
    return max((side.changed for side in (row.here, row.there) if side), default=-math.inf)


def _too_old(row: Row, rules: Rules, action: Action) -> Action:
    if action.do is Do.LEAVE:
        return action
    is_whole = rules.here_is_whole and rules.there_is_whole
    is_gone = is_whole and row.base is not None and not (row.here and row.there)
    return Action(row.path, Do.FORGET if is_gone else Do.LEAVE, reason=TOO_OLD, instead_of=action.do)


def _unknown(row: Row, blocked: Kind | None) -> str:
    if blocked is Kind.OPAQUE:
        return "a part of its path is a link, another file system or unreadable"
    if row.here and row.here.kind is Kind.OPAQUE:
        return "it is no regular file here, or cannot be read"
    if row.here and row.here.kind is Kind.FILE and row.here.content is None:
        return BEING_WRITTEN
    return ""


def _as_it_was(row: Row, rules: Rules) -> Row:
    """What is not known is as it was."""
    here = row.here if row.here and row.here.kind is Kind.FILE else None
    there, base = row.there, row.base
    if base and not row.here and not rules.here_is_whole:
        here = Here(row.path, content=base.content)
    if base and not there and not rules.there_is_whole:
        there = There(row.path, base.etag, base.content.size)
    if base and not base.is_delivered and (there is None or there.etag != base.etag):
        base = None
    return Row(row.path, here, there, base)


def _both(row: Row) -> Action | None:
    """Each side takes over what is new on the other."""
    here, there, base = row.here, row.there, row.base
    if here and there:
        if _is_base_there(row):
            return None if _is_base_here(row) else _push(row)
        return _adopt_or_pull(row)
    if here:
        return _drop_here(row) if _is_base_here(row) else _push(row)
    if there:
        return _drop_there(row) if _is_base_there(row) else _pull(row)
    return Action(row.path, Do.FORGET) if base else None


def _to_remote(row: Row) -> Action | None:
    """The remote follows the folder. What others wrote is kept in the trash when it is replaced, and what they made
    is left alone."""
    here, there, base = row.here, row.there, row.base
    if here and there:
        if _is_base_there(row):
            return None if _is_base_here(row) else _push(row)
        assert here.content
        return _adopt(row) if there.is_surely(here.content) else replace(_push(row), keeps=True)
    if here:
        return _push(row)
    if there:
        if _is_base_there(row):
            return _drop_there(row)
        return Action(row.path, Do.LEAVE, reason="it is only at the remote, and the folder is only sent")
    return Action(row.path, Do.FORGET) if base else None


def _from_remote(row: Row) -> Action | None:
    """The folder follows the remote. What was changed here becomes a conflict copy, and what was made here is left
    alone."""
    here, there, base = row.here, row.there, row.base
    if here and there:
        return None if _is_base_there(row) and _is_base_here(row) else _adopt_or_pull(row)
    if there:
        return _pull(row)
    if here and _is_base_here(row):
        return _drop_here(row)
    if base:
        return Action(row.path, Do.FORGET)
    return Action(row.path, Do.LEAVE, reason="it is only here, and the folder only receives")


BY_DIRECTION: dict[Direction, Callable[[Row], Action | None]] = {
    Direction.BOTH: _both,
    Direction.PUSH: _to_remote,
    Direction.PULL: _from_remote,
}


def _is_base_here(row: Row) -> bool:
    return bool(row.base and row.here and row.here.content and row.here.content.is_same(row.base.content))


def _is_base_there(row: Row) -> bool:
    return bool(row.base and row.there and row.there.etag == row.base.etag)


def _push(row: Row) -> Action:
    assert row.here
    assert row.here.content
    return Action(
        row.path,
        Do.PUSH,
        row.there.etag if row.there else "",
        row.here.content,
        returned=bool(row.base and row.here.content.md5 in row.base.former),
    )


def _adopt(row: Row) -> Action:
    assert row.here
    assert row.there
    return Action(row.path, Do.ADOPT, row.there.etag, row.here.content)


def _adopt_or_pull(row: Row) -> Action:
    """Both sides have something, and they may differ."""
    assert row.here
    assert row.here.content
    assert row.there
    return _adopt(row) if row.there.is_surely(row.here.content) else _pull(row)


def _pull(row: Row) -> Action:
    """Only the base may be replaced."""
    assert row.there
    return Action(
        row.path,
        Do.PULL,
        row.there.etag,
        row.base.content if row.base and row.here else None,
        row.there.size,
        is_conflict=row.here is not None and not _is_base_here(row),
        returned=bool(row.base and row.there.etag in row.base.former),
    )


def _drop_here(row: Row) -> Action:
    assert row.base
    return Action(row.path, Do.DROP_HERE, row.base.etag, row.base.content)


def _drop_there(row: Row) -> Action:
    assert row.base
    return Action(row.path, Do.DROP_THERE, row.base.etag, row.base.content)
