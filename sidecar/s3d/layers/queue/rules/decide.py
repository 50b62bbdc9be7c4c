"""The fate of a write, decided in one place (SEMANTICS Q-7, Q-11a, Q-14, Q-17, R-5, R-6). Pure: facts in, decision out.

Every write that the queue might take is decided here: puts, forms, copies, deletes, tags and the calls of a multipart
upload. Precedence, from the top:

1. What the queue does not understand, and what only the remote can do, is written through: nobody here judges it.
2. What S3 would refuse is refused, while the client is there.
3. A write to a bucket that cannot be written to is refused; where the bucket needs the remote, it is written through.
4. What the queue's filter leaves out, and a write larger than the queue, is written through.
5. A name that the store does not take is refused, where the store was seen to refuse one.
6. The first write of its kind is a probe of the remote, unless a rule holds it, it would wait in vain, nobody can be
   asked, or a policy is asked what may leave: then its push is the probe, and no client waits for the policy.
7. Everything else is queued.

What leaves by 1, 3, 4 or 6 is stopped by a rule that holds it and by the policy, and needs a remote that can be asked.

A fact may be unknown (None). `decide` then names the one that it needs next, so that nothing is looked up in vain. The
order in which facts become known changes no decision.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from s3d.errors import S3Error, Unavailable


class Fate(StrEnum):
    """What becomes of a write."""

    QUEUE = "queue"
    """The queue takes it, as soon as there is room."""
    PROBE = "probe"
    """It is written through, and the answer teaches. Where nothing of it could be sent, it is decided again."""
    WRITE_THROUGH = "write through"
    """The remote does it while the client waits."""
    REFUSE = "refuse"
    """The client gets an error, and nothing is done."""


class Reason(StrEnum):
    """Why a write is not queued. A value is the label of a metric: what a client names must not make new ones."""

    IF_MATCH = "if-match"
    IF_NONE_MATCH = "if-none-match"
    UNSUPPORTED = "unsupported"
    """It carries a member that is not in the allow-list, or is of an operation that the queue does not take."""
    AT_REMOTE = "at the remote"
    """It is about something that the remote has and the queue has not: an upload, a copy's source, an object's tags."""
    VERSIONED = "versioned"
    LOCKED = "locked"
    ENCRYPTED = "encrypted"
    ETAG = "etag"
    """The bucket gives objects other ETags than their MD5."""
    FILTER = "filter"
    """The queue's filter leaves it out (F-4)."""
    TOO_LARGE = "larger than the queue"
    FIRST = "first of its kind"

    INVALID = "invalid"
    """S3 would refuse it."""
    BUCKET = "bucket"
    """The bucket is not there, is not ours, or was never seen and cannot be asked about."""
    NAME = "name"
    """The remote is a store of files, and has another name in the way of this one."""
    HELD = "held"
    """A rule keeps it back, and it cannot be queued."""
    AWAY = "remote away"
    UNVERIFIED = "unverified"
    """The first of its kind, the remote is away, and the settings refuse such writes."""


class Fact(StrEnum):
    """A fact that is looked up only when a decision needs it; its value is the name of its field in `Facts`."""

    BUCKET = "bucket"
    LEFT_OUT = "left_out"
    NAME = "name"
    VERIFIED = "verified"
    RULE = "rule"
    POLICY = "policy"
    STUCK = "stuck"
    AWAY = "away"


CONDITIONS = {"if-match": Reason.IF_MATCH, "if-none-match": Reason.IF_NONE_MATCH}
LEFT_OUT = "the queue's filter leaves it out"
BUCKETS = {str(reason): reason for reason in (Reason.VERSIONED, Reason.LOCKED, Reason.ENCRYPTED, Reason.ETAG)}


class Facts(NamedTuple):
    """What is known of a write. A tuple, since each fact that becomes known makes another one."""

    capacity: int
    """The most bytes that the queue holds."""
    unsupported: str = ""
    """The first member that the allow-list lacks, or the name of an operation that the queue does not take."""
    at_remote: str = ""
    """What of it only the remote has, in words."""
    invalid: S3Error | None = None
    """The error that S3 would answer, whatever it finds (Q-15)."""
    size: int = 0
    carries: bool = True
    """Whether it carries an object's content or removes it, so that a rule may hold it."""
    asks_policy: bool = False
    """Whether there is a policy that says what may leave."""
    reject_unverified: bool = False
    """Whether the settings refuse a write of a kind that the remote has never accepted, while it is away."""

    bucket: str | S3Error | None = None
    """Why writes to the bucket go through, "" where they need not; an error where it cannot be written to."""
    left_out: bool | None = None
    """Whether the queue's filter leaves it out."""
    name: str | S3Error | None = None
    """The error by which the remote would refuse the name, "" where it takes it."""
    verified: bool | None = None
    """Whether the remote has accepted a write of this kind, or need not be asked."""
    rule: str | S3Error | None = None
    """The rule that holds it, in words, "" where none does; an error where the remote must say and does not."""
    policy: str | S3Error | None = None
    """The policy that keeps it here, in words, "" where it may leave; an error where there is no decision."""
    stuck: bool | None = None
    """Whether a change of its key does not move by itself, so that whoever waits for it waits in vain (Q-9)."""
    away: str | None = None
    """Why the remote cannot be asked now, "" where it can."""


def learnt(facts: Facts, fact: Fact, value: Any) -> Facts:
    """The facts, and one more of them; None makes it unknown."""
    return facts._replace(**{fact: value})


@dataclass(frozen=True, slots=True)
class Decision:
    """The fate of a write, and why."""

    fate: Fate
    reason: Reason | None = None
    detail: str = ""
    """What a client should know about the reason, such as the name of the member."""
    error: S3Error | None = None
    """What the client gets, where the write is refused."""


QUEUE = Decision(Fate.QUEUE)
PROBE = Decision(Fate.PROBE, Reason.FIRST, Reason.FIRST)


def decide(facts: Facts) -> Decision | Fact:
    """Decide the fate of a write, or name the fact that is needed for it."""
    if facts.unsupported:
        reason = CONDITIONS.get(facts.unsupported, Reason.UNSUPPORTED)
        return _leaves(facts, Decision(Fate.WRITE_THROUGH, reason, facts.unsupported))
    if facts.at_remote:
        return _leaves(facts, Decision(Fate.WRITE_THROUGH, Reason.AT_REMOTE, facts.at_remote))
    if facts.invalid is not None:
        return _refuse(Reason.INVALID, facts.invalid)
    if facts.bucket is None:
        return Fact.BUCKET
    if isinstance(facts.bucket, S3Error):
        return _refuse(Reason.BUCKET, facts.bucket)
    if facts.bucket:
        reason = BUCKETS.get(facts.bucket, Reason.BUCKET)
        return _leaves(facts, Decision(Fate.WRITE_THROUGH, reason, facts.bucket))
    if facts.left_out is None:
        return Fact.LEFT_OUT
    if facts.left_out:
        return _leaves(facts, Decision(Fate.WRITE_THROUGH, Reason.FILTER, LEFT_OUT))
    if facts.size > facts.capacity:
        return _leaves(facts, Decision(Fate.WRITE_THROUGH, Reason.TOO_LARGE, Reason.TOO_LARGE))
    if facts.name is None:
        return Fact.NAME
    if isinstance(facts.name, S3Error):
        return _refuse(Reason.NAME, facts.name)
    if facts.verified is None:
        return Fact.VERIFIED
    return QUEUE if facts.verified else _unverified(facts)


def _leaves(facts: Facts, decision: Decision) -> Decision | Fact:
    """The decision about a write that is to leave at once, unless a rule or the remote's absence stops it."""
    if facts.carries:
        if facts.rule is None:
            return Fact.RULE
        if isinstance(facts.rule, S3Error):
            return _refuse(Reason.AWAY, facts.rule)
        if facts.rule:
            return _refuse(Reason.HELD, held(facts.rule, decision.detail))
    if facts.carries and facts.asks_policy:
        if facts.policy is None:
            return Fact.POLICY
        if isinstance(facts.policy, S3Error):
            return _refuse(Reason.HELD, facts.policy)
        if facts.policy:
            return _refuse(Reason.HELD, forbidden(facts.policy, decision.detail))
    if facts.away is None:
        return Fact.AWAY
    return _refuse(Reason.AWAY, away(decision.detail, facts.away)) if facts.away else decision


def _unverified(facts: Facts) -> Decision | Fact:
    """The decision about the first write of a kind."""
    if facts.asks_policy and not facts.reject_unverified:
        # Whatever else there is to know, it is queued. While the policy says nothing, no push teaches that the remote
        # takes its kind: every write comes here.
        return QUEUE
    if facts.rule is None:
        return Fact.RULE
    if facts.rule and not isinstance(facts.rule, S3Error):
        return QUEUE
    if facts.stuck is None:
        return Fact.STUCK
    if facts.stuck:
        return QUEUE
    if facts.away is None:
        return Fact.AWAY
    if not facts.away and facts.asks_policy:
        return QUEUE
    if not facts.away and facts.rule == "":
        return PROBE
    return _refuse(Reason.UNVERIFIED, unverified()) if facts.reject_unverified else QUEUE


def _refuse(reason: Reason, error: S3Error) -> Decision:
    return Decision(Fate.REFUSE, reason, error=error)


def held(rule: str, why: str) -> S3Error:
    """The answer to a write that a rule keeps back and that cannot be queued: no byte of it is sent (Q-11a)."""
    return S3Error(
        "AccessDenied",
        f"Nothing was sent: {rule} keeps this write back, and it cannot be queued ({why})",
        status=403,
        hint="`s3d set --tag s3d.upload=true` on the bucket, or that tag on the object itself, lets it leave, whatever "
        "S3D_WRITE_QUEUE_PUSH_FILTER says",
    )


def forbidden(policy: str, why: str) -> S3Error:
    """The same where the policy keeps it back."""
    return S3Error(
        "AccessDenied",
        f"Nothing was sent: {policy} keeps this write back, and it cannot be queued ({why})",
        status=403,
        hint="whoever keeps the policy at S3D_OPA_URL finds the decision there by its id",
    )


def undecided(why: str) -> Unavailable:
    """The answer to such a write while the policy comes to no decision."""
    return Unavailable(
        f"Nothing was sent: the policy came to no decision ({why}), and this write cannot be queued",
        hint="see that OPA answers at S3D_OPA_URL, and what S3D_OPA_PATH is there",
    )


def away(why: str, remote: str) -> Unavailable:
    """The answer to a write that only the remote can do, while it is away."""
    return Unavailable(f"This request must be decided by the remote ({why}), which is away: {remote}")


def unverified() -> Unavailable:
    """The answer to a write of a kind that the remote has never accepted, while it is away."""
    return Unavailable(
        "The remote is away and has never accepted a write of this kind",
        hint="S3D_WRITE_QUEUE_UNVERIFIED_WRITES=Accept takes such writes while the remote is away",
    )
