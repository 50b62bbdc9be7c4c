"""The states of changes and of uploads, and every move between them that is allowed.

Whatever moves a state, a statement of `rows` or a trigger of its tables, makes one of the moves below and no other. The
tests hold each row that any of them writes against these tables, and docs/ARCHITECTURE.md shows them. What a statement
may not assume is in here too: which states are on their way, and which wait for a person.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple


class Op(StrEnum):
    """What a change does to its key."""

    PUT = "put"
    DELETE = "delete"
    COMPLETE = "complete"
    """A put whose body is the parts of a completed upload."""
    TAG = "tag"
    THROUGH = "through"
    """The turn of a request that is written through: a row without a body."""


class State(StrEnum):
    """Where a change is on its way to the remote."""

    WAITING = "waiting"
    PUSHING = "pushing"
    IN_DOUBT = "in_doubt"
    """An attempt was sent and not answered: the remote may have it, or may get it later."""
    HELD = "held"
    """A tag keeps it back."""
    PARKED = "parked"
    """The remote refused it for good."""
    SUPERSEDED = "superseded"
    """It was kept back, and a newer change has its key."""
    QUARANTINED = "quarantined"
    """Its row or its body cannot be read."""
    SETTLED = "settled"
    """It is delivered, and stays for a while because a late write of ours may still undo it."""


class UploadState(StrEnum):
    """Where a multipart upload is."""

    OPEN = "open"
    SPILLING = "spilling"
    """Its parts are being sent to an upload of the remote."""
    SPILLED = "spilled"
    COMPLETE = "complete"
    """A change is queued whose body its parts are."""
    DELIVERED = "delivered"
    """The remote has confirmed the object."""
    ABORTING = "aborting"
    """It is over, and the remote may still hold parts of it."""
    FINISHED = "finished"
    QUARANTINED = "quarantined"


ON_THE_WAY: Final = (State.WAITING, State.PUSHING, State.IN_DOUBT)
"""What is still to be delivered, without a person."""
CLAIMED: Final = (State.PUSHING, State.IN_DOUBT)
"""What holds the claim of its key: at most one change of a key is in one of these."""
KEPT_BACK: Final = (State.HELD, State.PARKED, State.QUARANTINED)
"""What waits for a person until a newer change has its key."""
FOR_A_PERSON: Final = (State.HELD, State.PARKED, State.SUPERSEDED, State.QUARANTINED)
"""What waits for a person."""
COUNTED: Final = (*ON_THE_WAY, *FOR_A_PERSON)
"""What counts as pending; a settled change does not."""
OPEN: Final = (UploadState.OPEN, UploadState.SPILLING, UploadState.SPILLED)
"""Uploads that a client may go on with."""

CONTENT: Final = (Op.PUT, Op.DELETE, Op.COMPLETE)
"""What makes an object or removes it."""


class Move(NamedTuple):
    """Some moves for one reason. An empty `before` is no row yet, an empty `after` is no row any more."""

    before: tuple[str, ...]
    after: str
    when: str
    ops: tuple[Op, ...] = (*CONTENT, Op.TAG)


NEW: Final = ("",)
GONE: Final = ""

CHANGES: Final = (
    Move(NEW, State.WAITING, "it is acknowledged"),
    Move(NEW, State.HELD, "it is acknowledged, and a tag keeps it back", CONTENT),
    Move((State.WAITING,), State.PUSHING, "it is claimed, committed before the first byte goes out"),
    Move((State.WAITING,), GONE, "a newer change takes its place; tags become part of their put"),
    Move((State.HELD,), GONE, "a newer change takes its place", CONTENT),
    Move(CLAIMED, GONE, "the remote has it"),
    Move(CLAIMED, State.SETTLED, "the remote has it, and an older attempt may still arrive", CONTENT),
    Move(CLAIMED, State.WAITING, "the remote refused it for now"),
    Move((State.PUSHING,), State.IN_DOUBT, "the attempt was not answered, or was under way before this start"),
    Move(CLAIMED, State.PARKED, "the remote refused it for good, or the object there is somebody else's"),
    Move(CLAIMED, State.SUPERSEDED, "it would wait again, and a newer change has its key"),
    Move((State.WAITING,), State.HELD, "a tag keeps it back from now on", CONTENT),
    Move((State.HELD,), State.WAITING, "its tag, or its bucket's, lets it go", CONTENT),
    Move((State.WAITING, State.HELD), State.PARKED, "what must be delivered before it is discarded", CONTENT),
    Move((State.PARKED,), State.WAITING, "a person, or other tags for the same object, try it again"),
    Move((*ON_THE_WAY, State.HELD, State.PARKED), State.QUARANTINED, "its row or its body cannot be read"),
    Move(
        (State.WAITING,),
        State.SUPERSEDED,
        "a newer change has its key, and its row cannot be read; or another identity's is delivered before it",
    ),
    Move(
        KEPT_BACK,
        State.SUPERSEDED,
        "a newer put, delete or complete of its identity has its key, or another identity's is delivered",
    ),
    Move(
        (State.SUPERSEDED,), GONE, "it was held, or another superseded change of the key is newer, or a person drops it"
    ),
    Move(KEPT_BACK, GONE, "a person drops it"),
    Move((State.SETTLED,), State.WAITING, "a late write of ours has undone it", CONTENT),
    Move((State.SETTLED,), GONE, "nothing may arrive any more, or a newer settled change takes its place", CONTENT),
    Move(NEW, State.WAITING, "a request stands in line for its key", (Op.THROUGH,)),
    Move((State.WAITING,), State.PUSHING, "nothing is ahead of the request", (Op.THROUGH,)),
    Move((State.WAITING, State.PUSHING), GONE, "the request is answered, or its client has left", (Op.THROUGH,)),
    Move((State.PUSHING,), State.SETTLED, "its answer was lost: what it sent may still arrive", (Op.THROUGH,)),
    Move((State.SETTLED,), GONE, "nothing may arrive any more", (Op.THROUGH,)),
)
"""The moves of changes."""

UPLOADS: Final = (
    Move(NEW, UploadState.OPEN, "it is created"),
    Move((UploadState.OPEN,), UploadState.SPILLING, "it fills the queue, or only the remote can judge what is asked"),
    Move((UploadState.SPILLING,), UploadState.SPILLED, "the remote has all parts"),
    Move((UploadState.SPILLED,), UploadState.SPILLING, "one more part came here"),
    Move(
        (UploadState.OPEN,), UploadState.COMPLETE, "it is completed, and its change is queued in the same transaction"
    ),
    Move(OPEN, UploadState.FINISHED, "the remote has completed it, or it is aborted and the remote holds no part"),
    Move(OPEN, UploadState.ABORTING, "it is aborted or expires, and the remote may hold parts"),
    Move((UploadState.COMPLETE,), UploadState.DELIVERED, "the remote has confirmed its object"),
    Move((UploadState.DELIVERED,), UploadState.COMPLETE, "its object was undone, and is made anew"),
    Move((UploadState.DELIVERED, UploadState.COMPLETE), UploadState.FINISHED, "its change is gone"),
    Move((UploadState.COMPLETE,), UploadState.ABORTING, "its change is gone, and the remote may hold parts"),
    Move((UploadState.ABORTING,), UploadState.FINISHED, "the remote holds nothing of it any more"),
    Move((*OPEN, UploadState.ABORTING, UploadState.FINISHED), UploadState.QUARANTINED, "a row of it cannot be read"),
    Move((UploadState.QUARANTINED,), UploadState.ABORTING, "it is aborted or expires, and the remote may hold parts"),
    Move((UploadState.QUARANTINED,), UploadState.FINISHED, "it is aborted or expires"),
    Move(tuple(UploadState), GONE, "nobody asks for its answer any more, or the local dir gets another remote"),
)
"""The moves of uploads."""


def allowed(moves: Iterable[Move], before: str, after: str, op: str | None = None) -> bool:
    """Whether a row may go from one state to another; `op` is what kind of change it is, None for an upload."""
    return any(before in move.before and after == move.after and (op is None or op in move.ops) for move in moves)


def literals(states: Iterable[str]) -> str:
    """States as a statement of SQL lists them."""
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"
