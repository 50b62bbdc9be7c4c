"""Moves: a drop and a new file with its content, in one plan, are one file under another name. Pure.

A move is no delete for the guards (SEMANTICS S-5), its bytes need not be sent again, and the old name goes only when
the new one has the content, so that a crash between the two loses neither (Q-21).
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace

from s3d.sync.plan import DROPS, Action, Do


def paired(actions: Sequence[Action]) -> list[Action]:
    """The same actions, in the same order, with their moves named."""
    planned = list(actions)
    old: dict[Hashable, list[int]] = {}
    for index, action in enumerate(planned):
        if action.do in DROPS:
            old.setdefault(_moved(action), []).append(index)
    for index, action in enumerate(planned):
        found = old.get(_moved(action)) if action.do in (Do.PUSH, Do.PULL) else None
        if found:
            gone = found.pop(0)
            planned[gone] = replace(planned[gone], goes_to=action.path)
            planned[index] = replace(action, source=planned[gone].path, source_etag=planned[gone].expects)
    return planned


def _moved(action: Action) -> Hashable:
    """What is alike in the two halves of a move: what was moved here is known by its bytes, what was moved at the
    remote by its ETag, since nobody has downloaded it yet."""
    if action.do in (Do.PUSH, Do.DROP_THERE):
        return action.content and action.content.sha256
    size = action.size if action.do is Do.PULL else action.content and action.content.size
    return action.expects, size
