"""What the policy has said of each change (SEMANTICS F-3): all SQL on the column `judged` that is not in `changes`.

The column is set in the transaction that queues or re-tags a change, so that no crash and no claim comes between an
acknowledgement and its verdict: what is not judged is not due (the fragment `due`). That there is a policy is a row of
the table `meta`. A verdict is about what was asked: where the change says something else by now, it is asked anew.

A change that the policy holds, or of which there is no decision, is held with a rule in words, as by any other rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import apsw

from s3d import policy
from s3d.layers.queue.rows import holds, queries, subjects
from s3d.layers.queue.rows.holds import Held
from s3d.layers.queue.rows.states import Op, State
from s3d.policy import Answer, Operation, Question, Verdict
from s3d.store.db import Database

UNASKED, GIVEN, DENIED, DENIED_ANEW = 0, 1, 2, 3
"""Values of the column: nothing is said yet; it may leave, or nobody is asked; it may not leave; it might not, and is
to be asked about at once, since rules, tags or the policy are others."""
SAID_NO = frozenset([DENIED, DENIED_ANEW])
SQL = queries.load(
    "verdicts",
    asked="seq, bucket, key, identity, op, CAST(members AS BLOB), size, CAST(removes AS BLOB), state, "
    "CAST(rule AS BLOB), judged",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A change, and what the policy is asked about it."""

    seq: int
    bucket: str
    key: str
    op: str
    question: Question
    state: str
    rule: str
    judged: int


class Consent(NamedTuple):
    """A policy that has let a write leave before it was queued, as text, and what it was asked."""

    policy: str
    question: Question


def in_force(db: Database) -> str:
    """The policy that is asked, as text; "" for none."""
    rows = db.read(SQL["policy"])
    return str(rows[0][0]) if rows else ""


def at_start(db: Database) -> str | None:
    """What the start-up values said of it at the latest start that could read all its settings."""
    rows = db.read(SQL["policy_at_start"])
    return str(rows[0][0]) if rows else None


def adopt(text: str, at_start: str | None = None) -> Callable[[apsw.Connection], None]:
    """A write that puts a policy in force: it is asked about what is queued from then on, and about all that waits or
    is held, where it is another than before. At a start it notes what the start-up values say."""

    def write(db: apsw.Connection) -> None:
        before = db.execute(SQL["policy"]).fetchall()
        if (str(before[0][0]) if before else "") != text:
            db.execute(SQL["set_policy"], (text,))
            db.execute(SQL["doubt_all"])
        if at_start is not None:
            db.execute(SQL["set_policy_at_start"], (at_start,))

    return write


def first(db: apsw.Connection, op: str) -> int:
    """The column of a change that no rule holds and that is to be pushed. A change of tags follows its put."""
    return UNASKED if op in holds.HELD_OPS and db.execute(SQL["policy"]).get else GIVEN


def is_consent(db: apsw.Connection, consent: Consent, held: Held) -> bool:
    """Whether a policy has let leave what is queued now: it is in force, and was asked about just that."""
    rows = db.execute(SQL["policy"]).fetchall()
    return bool(rows) and consent == Consent(str(rows[0][0]), question_of(held))


def question_of(held: Held) -> Question:
    """What the policy is asked about a change, or about a write that would be one."""
    operation = Operation.DELETE if held.op == Op.DELETE else Operation.PUT
    return policy.question(operation, subjects.of(held.bucket, held.key, held.identity, held.content, None))


def unasked(db: Database, after: int, limit: int) -> list[Asked]:
    """The next changes behind `after` that wait and that the policy has said nothing of."""
    return _to_ask(db, UNASKED, State.WAITING, after, limit)


def denied_anew(db: Database, limit: int) -> list[Asked]:
    """The oldest changes that the policy has held and that it is to be asked about at once."""
    return _to_ask(db, DENIED_ANEW, State.HELD, 0, limit)


def undecided(db: Database, after: int, limit: int) -> list[Asked]:
    """The next changes behind `after` that are held because there was no decision."""
    return _to_ask(db, UNASKED, State.HELD, after, limit)


def denied(db: Database, after: int, limit: int) -> list[Asked]:
    """The next changes behind `after` that the policy holds."""
    return _to_ask(db, DENIED, State.HELD, after, limit)


def _to_ask(db: Database, judged: int, state: State, after: int, limit: int) -> list[Asked]:
    rows = db.read(SQL["to_ask"], (judged, state, after, limit))
    return [_asked(row) for row in rows]


def _asked(row: tuple[Any, ...]) -> Asked:
    seq, bucket, key, identity, op, members, size, removes, state, rule, judged = row
    held = holds.of_row(bucket, key, identity, op, members, size, removes)
    text = rule.decode(errors="replace") if isinstance(rule, bytes) else ""
    return Asked(seq, bucket, key, op, question_of(held), state, text, judged)


def give(db: apsw.Connection, asked: Asked, answer: Answer, *, is_open: bool, now: float) -> bool:
    """Note a verdict, unless the change is another by now; whether the change has moved or may leave.

    No decision lets a change leave where it `is_open`, and holds it otherwise. What was denied stays held by that.
    """
    rows = db.execute(SQL["asked"], (asked.seq,)).fetchall()
    found = [_asked(row) for row in rows]
    if not found or found[0].question != asked.question:
        return False
    if answer.verdict is Verdict.NONE and found[0].judged in SAID_NO:
        db.execute(SQL["deny_still"], (DENIED, asked.seq))
        return False
    if answer.verdict is Verdict.ALLOW or (answer.verdict is Verdict.NONE and is_open):
        db.execute(SQL["allow"], (now, asked.seq))
        return True
    rule, judged = rule_of(answer), DENIED if answer.verdict is Verdict.DENY else UNASKED
    if (found[0].state, found[0].judged, found[0].rule) == (State.HELD, judged, rule):
        return False
    db.execute(SQL["hold"], (judged, rule, asked.seq))
    return True


def give_up(db: apsw.Connection, answer: Answer, limit: int, *, is_open: bool) -> list[str]:
    """Treat the oldest changes of which nobody has been asked as asked, since nobody answers: the buckets of them, each
    as often as it has one. What they say does not matter, and is not read."""
    if is_open:
        return [str(bucket) for (bucket,) in db.execute(SQL["allow_unasked"], (limit,)).fetchall()]
    return [str(bucket) for (bucket,) in db.execute(SQL["hold_unasked"], (rule_of(answer), limit)).fetchall()]


def rule_of(answer: Answer) -> str:
    """The rule by which an answer holds a change, in words."""
    if answer.verdict is Verdict.DENY:
        return f"the policy (decision {answer.decision})" if answer.decision else "the policy"
    return f"the policy, which came to no decision: {answer.why},"


def said(db: Database, seq: int) -> str:
    """What the policy has said of a change that no rule holds, for a person; "" where there is no policy."""
    rows = db.read(SQL["said"], (seq,))
    if not rows or not in_force(db):
        return ""
    return "lets it leave" if rows[0][0] == GIVEN else "holds it" if rows[0][0] in SAID_NO else "has not decided"


def waiting(db: apsw.Connection) -> tuple[int, int]:
    """How many changes wait for a verdict, and their bytes."""
    rows: list[tuple[Any, ...]] = db.execute(SQL["waiting"]).fetchall()
    files, size = rows[0]
    return files, size


def unjudged(db: Database) -> int:
    """How many changes the policy has said nothing of, held ones included."""
    rows = db.read(SQL["unjudged"])
    return int(rows[0][0])
