"""The entry of writes: it looks up the facts that a decision needs, and acts on the decision (rules/decide.py).

No handler judges for itself whether the queue takes a write. It says what the request says (`facts`), how the queue
takes it, how the remote gets it, and how it probes the remote. A fact is looked up only if the decision needs it, and
those that cost least come first.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from s3d import spans
from s3d.api import Call, Reply
from s3d.errors import S3Error
from s3d.filters import match
from s3d.filters.rule import Member
from s3d.layers.health import Health
from s3d.layers.queue import withheld
from s3d.layers.queue.consent import Consent
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.remote_facts.write_profiles import WriteProfile
from s3d.layers.queue.rows import holds, lanes, lookups, subjects
from s3d.layers.queue.rows.states import KEPT_BACK
from s3d.layers.queue.rows.subjects import Content
from s3d.layers.queue.rules.decide import Decision, Fact, Facts, Fate, decide, learnt
from s3d.layers.queue.staging import Staging
from s3d.metrics import Metrics
from s3d.protocol.headers import TAGGING
from s3d.settings import WriteQueue
from s3d.store.db import Database

REASON = "x-s3d-reason"
"""The header that tells a client why its write was not queued."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the facts of a write are looked up in."""

    settings: WriteQueue
    db: Database
    health: Health
    metrics: Metrics
    facts: RemoteFacts
    staging: Staging
    consent: Consent


async def never() -> Reply:
    """Stand for what the facts of a write rule out: that the queue takes it, or probes with it."""
    raise AssertionError("this write is never queued")


async def always() -> None:
    """Let a name pass that no store refuses."""


def refuse(decision: Decision) -> Reply:
    """Refuse a write as most are: the error is raised."""
    assert decision.error is not None
    raise decision.error


@dataclass(slots=True, kw_only=True)
class Write:
    """A write, by one who knows its operation."""

    call: Call
    facts: Facts
    """What the request says."""
    send: Callable[[Decision], Awaitable[Reply]]
    """Has the remote do it, while the client waits."""
    take: Callable[[], Awaitable[Reply]] = never
    """Has the queue take it, as soon as there is room."""
    probe: Callable[[], Awaitable[Reply | None]] = never
    """Has the remote do it and learns from the answer; None where nothing of it could be sent."""
    fits: Callable[[], Awaitable[None]] = always
    """Raises the S3Error of a store that does not take its name (Q-15c)."""
    refuse: Callable[[Decision], Reply] = refuse
    asked: Content | None = None
    """What the queue's filter gets to know of its object. None: the filter was asked when the object began."""
    profile: WriteProfile | None = None
    """Its kind, where the remote must have accepted one before the queue takes the next."""
    content: Content | None = None
    """What is known of its object, where the call itself does not say it."""
    keys: Sequence[str] = ()
    """The keys of a write that concerns many."""


def facts(context: Context, call: Call, profile: WriteProfile | None = None, **said: Any) -> Facts:
    """What is known of a write before anything is looked up: what the request says, and the settings; of one with a
    profile also what it needs to be queued, as most are, where memory has it."""
    settings, remote = context.settings, context.facts
    said.setdefault("carries", withheld.carries(call))
    said.setdefault("left_out", None if settings.filter.rules else False)
    if profile is not None and (bucket := remote.buckets.at_hand(call.bucket)) is not None:
        said["bucket"] = remote.buckets.through(bucket)
        said["name"] = "" if remote.traits.store_of_files is None else None
        said["verified"] = remote.is_verified(profile)
    return Facts(
        capacity=int(settings.max_size * call.terms.share),
        asks_policy=context.consent.is_asked_for,
        reject_unverified=settings.unverified_writes == "Reject",
        **said,
    )


async def serve(context: Context, write: Write) -> Reply:
    """Do what is decided about a write. Raises S3Error where it is refused, and what its own functions raise."""
    known = write.facts
    while True:
        decision = decide(known)
        if isinstance(decision, Fact):
            decision, known = await settle(context, write, known)
        match decision.fate:
            case Fate.QUEUE:
                spans.event("queued")
                return await write.take()
            case Fate.REFUSE:
                return write.refuse(decision)
            case Fate.WRITE_THROUGH:
                context.metrics.write_through.labels(decision.reason).inc()
                return _explained(decision, await write.send(decision))
            case Fate.PROBE:
                context.metrics.write_through.labels(decision.reason).inc()
                if (reply := await write.probe()) is not None:
                    return _explained(decision, reply)
                # The rule, too: it may be why nothing was sent.
                known = learnt(learnt(known, Fact.AWAY, "it cannot be asked"), Fact.RULE, None)


def _explained(decision: Decision, reply: Reply) -> Reply:
    """Tell the client of a write that succeeded why it was not queued (D-6a)."""
    if reply.status < 300 and decision.reason is not None:
        reply.headers.setdefault(REASON, decision.reason)
    return reply


async def check(context: Context, write: Write) -> None:
    """Raise S3Error where a write would be refused by what is known before its body."""
    decision, _ = await settle(context, write, write.facts)
    if decision.fate is Fate.REFUSE:
        refuse(decision)


async def settle(context: Context, write: Write, known: Facts) -> tuple[Decision, Facts]:
    """The decision about a write, and what was looked up for it."""
    while isinstance(decision := decide(known), Fact):
        known = learnt(known, decision, await _look_up(context, write, decision))
    return decision, known


async def _look_up(context: Context, write: Write, fact: Fact) -> object:
    call = write.call
    match fact:
        case Fact.BUCKET:
            return await _bucket(context, call)
        case Fact.LEFT_OUT:
            return write.asked is not None and await is_left_out(context, call, write.asked)
        case Fact.NAME:
            return await _name(write)
        case Fact.VERIFIED:
            return write.profile is None or context.facts.is_verified(write.profile)
        case Fact.RULE:
            return await _rule(context, write)
        case Fact.POLICY:
            return await _policy(context, write)
        case Fact.STUCK:
            return bool(call.key) and _is_stuck(context, call)
        case Fact.AWAY:
            return (context.health.reason or "it does not answer") if context.health.away else ""


async def _bucket(context: Context, call: Call) -> str | S3Error:
    """Why writes to a bucket go through; the error of one that is not there, or that nobody knows."""
    try:
        return context.facts.buckets.through(await context.facts.buckets.get(call.bucket, call.identity))
    except S3Error as error:
        return error


async def is_left_out(context: Context, call: Call, content: Content) -> bool:
    """Whether the queue's filter leaves a write out (F-4). What is not known matches no rule (F-5); tags of its bucket
    for which nobody has asked yet are asked for, where a rule wants them."""
    rules, bucket = context.settings.filter, call.bucket
    if rules.asks_for(Member.BUCKET_TAG) and not context.facts.bucket_tags.known(bucket):
        with contextlib.suppress(S3Error):
            await context.facts.bucket_tags.ask(bucket, call.identity)
    tags = holds.tags_of_bucket(context.db, bucket)
    return not match.decide(rules, subjects.of(bucket, call.key, call.identity, content, tags)).of_known


async def _name(write: Write) -> str | S3Error:
    """The error of a store that does not take the name, "" where it may."""
    try:
        await write.fits()
    except S3Error as error:
        return error
    return ""


async def _rule(context: Context, write: Write) -> str | S3Error:
    """The rule that holds a write. A bucket whose tags nobody has asked for yet is asked, since what was sent cannot be
    taken back; one that is not there, or tells them to nobody, has none."""
    call, bucket = write.call, write.call.bucket
    content = withheld.content_of(context.db, context.staging, call) if write.content is None else write.content
    own = holds.own_of(content.members.get(TAGGING, ""))
    if bucket and own is None and not context.facts.bucket_tags.known(bucket):
        try:
            await context.facts.bucket_tags.ask(bucket, call.identity)
        except S3Error as error:
            if error.status >= 500:
                return error
    keys = write.keys or [call.key]
    return next(filter(None, (withheld.rule(context.db, call, content, key) for key in keys)), "")


async def _policy(context: Context, write: Write) -> str | S3Error:
    """Why the policy does not let a write leave."""
    call = write.call
    content = withheld.content_of(context.db, context.staging, call) if write.content is None else write.content
    keys = write.keys or [call.key]
    return await context.consent.refusal(withheld.held_of(context.db, call, content, key) for key in keys)


def _is_stuck(context: Context, call: Call) -> bool:
    """Whether something on the key will not move by itself: a write takes the key, a turn would wait in vain (Q-9)."""
    change = lookups.obstacle(context.db, call.bucket, call.key, lookups.newest(context.db))
    if change is None:
        return False
    return change.state in KEPT_BACK or any(
        lane.state == "paused" and lanes.key_of(lane) == lanes.key_of(change) for lane in lanes.shut(context.db)
    )
