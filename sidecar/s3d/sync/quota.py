"""How many files a folder takes. Pure.

What is beyond the limit is left alone on the side that has it, like anything that is out of scope (SEMANTICS S-4). The
limit never takes away what both sides have, and a move needs no room: else the old name would go, and the new one
stay behind.
"""

from collections.abc import Sequence
from dataclasses import replace

from s3d.sync.plan import DROPS, Action, Do


def limited(actions: Sequence[Action], files: int, most: int) -> list[Action]:
    """A plan whose moves are named, with what is beyond `most` files left alone. Both sides have had `files`; 0: any
    number. What the plan drops makes room, in the order of names."""
    if not most:
        return [*actions]
    room = most - files + sum(one.do in DROPS and not one.goes_to for one in actions)
    # What both sides turn out to have needs no room, and counts.
    room -= sum(one.adds and one.do is Do.ADOPT for one in actions)
    reason = f"the folder has the {most} files that it may have"
    planned = []
    for action in actions:
        is_new = action.adds and not action.source and action.do is not Do.ADOPT
        if is_new and room < 1:
            planned.append(replace(action, do=Do.LEAVE, reason=reason))
            continue
        room -= is_new
        planned.append(action)
    return planned
