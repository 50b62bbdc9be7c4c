"""What becomes of deletes, as a person chose. Pure.

A move is no delete: its content stays under the new name.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from s3d.sync.plan import DROPS, SPARED, Action, Do


class Deletes(StrEnum):
    """What a delete on one side does on the other."""

    APPLY = "Apply"
    TRASH = "Trash"
    """The same, but what goes at the remote is copied to its trash before."""
    IGNORE = "Ignore"
    """Nothing, then or later."""


def spared(actions: Sequence[Action], deletes: Deletes) -> list[Action]:
    """A plan whose moves are named, with the deletes left alone that are ignored."""
    if deletes is not Deletes.IGNORE:
        return [*actions]
    return [
        replace(one, do=Do.LEAVE, reason=SPARED, spares=True) if one.do in DROPS and not one.goes_to else one
        for one in actions
    ]
