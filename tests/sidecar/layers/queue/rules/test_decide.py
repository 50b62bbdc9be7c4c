"""The fate of a write: one row a case, and what holds whatever is known of it (SEMANTICS Q-7, Q-11a, Q-14, Q-17)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3d.errors import S3Error, Unavailable
from s3d.layers.queue.rules.decide import Decision, Fact, Facts, Fate, Reason, decide, learnt

CAPACITY = 100
INVALID = S3Error("KeyTooLongError")
NO_BUCKET = S3Error("NoSuchBucket", status=404)
NO_NAME = S3Error("NotADirectory")
SILENT = Unavailable("the tags of the bucket are not known")
RULE = "the tag s3d.upload=false of the bucket"
GONE = "no answer for 5 s"

PLAIN: Mapping[str, Any] = {
    "size": 10,
    "bucket": "",
    "left_out": False,
    "name": "",
    "verified": True,
    "rule": "",
    "policy": "",
    "stuck": False,
    "away": "",
}
"""A put that nothing speaks against. A row of the table says only what is different."""


THROUGH, REFUSE, QUEUE = Fate.WRITE_THROUGH, Fate.REFUSE, Fate.QUEUE
AWAY = "ServiceUnavailable"


class Case(NamedTuple):
    """A row of the table."""

    says: str
    facts: Mapping[str, Any]
    fate: Fate
    reason: Reason | None = None
    code: str = ""
    """Of the error that the client gets."""


TABLE = [
    Case("a plain write of a kind that the remote has accepted", {}, QUEUE),
    Case("it needs no remote", {"away": GONE}, QUEUE),
    Case("a rule holds it in the queue", {"rule": RULE}, QUEUE),
    Case("it takes the place of a change that does not move", {"stuck": True}, QUEUE),
    Case("it is as large as the queue", {"size": CAPACITY}, QUEUE),
    # What only the remote can do is written through.
    Case("a condition", {"unsupported": "if-match"}, THROUGH, Reason.IF_MATCH),
    Case("a condition", {"unsupported": "if-none-match"}, THROUGH, Reason.IF_NONE_MATCH),
    Case("an unknown member", {"unsupported": "x-amz-unheard-of"}, THROUGH, Reason.UNSUPPORTED),
    Case("a part of the remote's upload", {"at_remote": "its upload"}, THROUGH, Reason.AT_REMOTE),
    Case("the bucket keeps versions", {"bucket": "versioned"}, THROUGH, Reason.VERSIONED),
    Case("the bucket has an object lock", {"bucket": "locked"}, THROUGH, Reason.LOCKED),
    Case("the bucket encrypts with a key of KMS", {"bucket": "encrypted"}, THROUGH, Reason.ENCRYPTED),
    Case("the bucket's ETags are no MD5s", {"bucket": "etag"}, THROUGH, Reason.ETAG),
    Case("the bucket is written through, whatever its row says", {"bucket": "?"}, THROUGH, Reason.BUCKET),
    Case("the queue's filter leaves it out", {"left_out": True}, THROUGH, Reason.FILTER),
    Case("it is larger than the queue", {"size": CAPACITY + 1}, THROUGH, Reason.TOO_LARGE),
    # So is the first write of its kind, unless that would be in vain.
    Case("the remote has not accepted one yet", {"verified": False}, Fate.PROBE, Reason.FIRST),
    Case("a rule holds it", {"verified": False, "rule": RULE}, QUEUE),
    Case("its key waits for a person", {"verified": False, "stuck": True}, QUEUE),
    Case("the remote is away", {"verified": False, "away": GONE}, QUEUE),
    Case("nobody can tell whether a rule holds it", {"verified": False, "rule": SILENT}, QUEUE),
    Case("a policy is asked before it leaves", {"verified": False, "asks_policy": True}, QUEUE),
    Case("a policy is asked, and the remote is away", {"verified": False, "asks_policy": True, "away": GONE}, QUEUE),
    Case(
        "the remote is away and the settings refuse that, whatever the policy says",
        {"verified": False, "asks_policy": True, "away": GONE, "reject_unverified": True},
        REFUSE,
        Reason.UNVERIFIED,
        AWAY,
    ),
    Case(
        "the remote is away and the settings refuse that",
        {"verified": False, "away": GONE, "reject_unverified": True},
        REFUSE,
        Reason.UNVERIFIED,
        AWAY,
    ),
    Case(
        "the settings do not refuse what a rule holds",
        {"verified": False, "away": GONE, "reject_unverified": True, "rule": RULE},
        QUEUE,
    ),
    # What S3 would refuse is refused while the client is there.
    Case("it breaks a limit", {"invalid": INVALID}, REFUSE, Reason.INVALID, "KeyTooLongError"),
    Case("the bucket is not there", {"bucket": NO_BUCKET}, REFUSE, Reason.BUCKET, "NoSuchBucket"),
    Case("the store has a file where it needs a directory", {"name": NO_NAME}, REFUSE, Reason.NAME, "NotADirectory"),
    # What a rule holds and the queue cannot take does not leave.
    Case("a held condition", {"unsupported": "if-match", "rule": RULE}, REFUSE, Reason.HELD, "AccessDenied"),
    Case("a held part", {"at_remote": "its upload", "rule": RULE}, REFUSE, Reason.HELD, "AccessDenied"),
    Case("a held version", {"bucket": "versioned", "rule": RULE}, REFUSE, Reason.HELD, "AccessDenied"),
    Case(
        "a held one that the filter leaves out", {"left_out": True, "rule": RULE}, REFUSE, Reason.HELD, "AccessDenied"
    ),
    Case("a held giant", {"size": CAPACITY + 1, "rule": RULE}, REFUSE, Reason.HELD, "AccessDenied"),
    Case(
        "tags are no content: no rule holds a change of them",
        {"at_remote": "the object", "rule": RULE, "carries": False},
        THROUGH,
        Reason.AT_REMOTE,
    ),
    Case(
        "the tags of the bucket were never told", {"unsupported": "if-match", "rule": SILENT}, REFUSE, Reason.AWAY, AWAY
    ),
    # What needs the remote is refused at once while it is away.
    Case("a condition without a remote", {"unsupported": "if-match", "away": GONE}, REFUSE, Reason.AWAY, AWAY),
    # Of two reasons the one nearer to the top of the module counts.
    Case(
        "who judges comes before the judgement",
        {"unsupported": "if-match", "invalid": INVALID},
        THROUGH,
        Reason.IF_MATCH,
    ),
    Case(
        "a member comes before the remote's",
        {"unsupported": "versionid", "at_remote": "its upload"},
        THROUGH,
        Reason.UNSUPPORTED,
    ),
    Case(
        "a limit comes before the bucket",
        {"invalid": INVALID, "bucket": NO_BUCKET},
        REFUSE,
        Reason.INVALID,
        "KeyTooLongError",
    ),
    Case("the bucket comes before the size", {"bucket": "locked", "size": CAPACITY + 1}, THROUGH, Reason.LOCKED),
    Case("the bucket comes before the filter", {"bucket": "locked", "left_out": True}, THROUGH, Reason.LOCKED),
    Case("the filter comes before the size", {"left_out": True, "size": CAPACITY + 1}, THROUGH, Reason.FILTER),
    Case("the size comes before the name", {"size": CAPACITY + 1, "name": NO_NAME}, THROUGH, Reason.TOO_LARGE),
    Case(
        "the name comes before the kind",
        {"name": NO_NAME, "verified": False},
        REFUSE,
        Reason.NAME,
        "NotADirectory",
    ),
    Case("the size comes before the kind", {"size": CAPACITY + 1, "verified": False}, THROUGH, Reason.TOO_LARGE),
    Case(
        "a rule comes before the outage",
        {"unsupported": "if-match", "rule": RULE, "away": GONE},
        REFUSE,
        Reason.HELD,
        "AccessDenied",
    ),
]


def facts_of(**said: Any) -> Facts:
    return Facts(capacity=CAPACITY, **{**PLAIN, **said})


@pytest.mark.semantics("Q-7", "Q-11a", "Q-14", "Q-14b", "Q-14c", "Q-17")
@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.fate}: {case.says}")
def test_a_write_has_one_fate(case: Case) -> None:
    decision = decide(facts_of(**case.facts))
    assert isinstance(decision, Decision)
    code = decision.error.code if decision.error is not None else ""
    assert (decision.fate, decision.reason, code) == (case.fate, case.reason, case.code)


@pytest.mark.semantics("F-3f")
def test_nothing_is_looked_up_for_a_write_of_a_new_kind_that_a_policy_is_asked_about() -> None:
    known = facts_of(verified=False, asks_policy=True, rule=None, stuck=None, away=None)
    assert decide(known) == Decision(Fate.QUEUE)


def test_the_table_has_each_fate_and_each_reason() -> None:
    assert {case.fate for case in TABLE} == set(Fate)
    assert {case.reason for case in TABLE} == {None, *Reason}


def test_a_fact_is_a_field_that_may_be_unknown() -> None:
    assert set(Facts._fields) >= set(Fact)
    assert all(getattr(Facts(capacity=CAPACITY), fact) is None for fact in Fact)


def test_a_refusal_names_the_rule_and_why_the_queue_does_not_take_it() -> None:
    decision = decide(facts_of(unsupported="x-amz-unheard-of", rule=RULE))
    assert isinstance(decision, Decision)
    assert decision.error is not None
    assert RULE in decision.error.message
    assert "x-amz-unheard-of" in decision.error.message
    assert "Retry-After" not in decision.error.headers


WRITES = st.builds(
    facts_of,
    unsupported=st.sampled_from(["", "", "if-match", "if-none-match", "x-amz-unheard-of"]),
    at_remote=st.sampled_from(["", "", "its upload"]),
    invalid=st.sampled_from([None, None, INVALID]),
    size=st.integers(0, 2 * CAPACITY),
    carries=st.booleans(),
    asks_policy=st.booleans(),
    reject_unverified=st.booleans(),
    bucket=st.sampled_from(["", "", "versioned", "etag", NO_BUCKET]),
    left_out=st.booleans(),
    name=st.sampled_from(["", "", NO_NAME]),
    verified=st.booleans(),
    rule=st.sampled_from(["", "", RULE, SILENT]),
    stuck=st.booleans(),
    away=st.sampled_from(["", "", GONE]),
)
"""Writes of which everything is known."""


def unknown(facts: Facts) -> Facts:
    """What is known of a write before anything is looked up."""
    for fact in Fact:
        facts = learnt(facts, fact, None)
    return facts


def same(one: Decision | Fact, other: Decision | Fact) -> bool:
    """Whether two decisions are one; errors are made anew each time."""
    if isinstance(one, Fact) or isinstance(other, Fact):
        return one is other
    return replace(one, error=None) == replace(other, error=None) and str(one.error) == str(other.error)


@given(WRITES)
def test_every_write_is_decided(facts: Facts) -> None:
    decision = decide(facts)
    assert isinstance(decision, Decision)
    assert (decision.error is not None) == (decision.fate is Fate.REFUSE)
    assert (decision.reason is None) == (decision.fate is Fate.QUEUE)


@given(WRITES, st.permutations(list(Fact)))
def test_the_order_in_which_facts_become_known_does_not_matter(facts: Facts, order: list[Fact]) -> None:
    """A decision that is made stays, and a fact is asked for only as long as it is unknown."""
    known = unknown(facts)
    for fact in order:
        decision = decide(known)
        assert same(decision, decide(facts)) if isinstance(decision, Decision) else getattr(known, decision) is None
        known = learnt(known, fact, getattr(facts, fact))


@given(WRITES)
def test_asking_for_each_fact_in_turn_comes_to_the_same_decision(facts: Facts) -> None:
    known = unknown(facts)
    asked: list[Fact] = []
    while isinstance(decision := decide(known), Fact):
        asked.append(decision)
        known = learnt(known, decision, getattr(facts, decision))
    assert same(decision, decide(facts))
    assert len(asked) == len(set(asked))


@pytest.mark.semantics("Q-11a")
@given(WRITES)
def test_what_a_rule_holds_does_not_leave(facts: Facts) -> None:
    decision = decide(facts)
    assert isinstance(decision, Decision)
    if facts.rule and facts.carries:
        assert decision.fate in (Fate.QUEUE, Fate.REFUSE)


@pytest.mark.semantics("Q-7", "Q-17")
@given(WRITES)
def test_the_queue_takes_nothing_that_it_cannot_keep_or_does_not_understand(facts: Facts) -> None:
    decision = decide(facts)
    assert isinstance(decision, Decision)
    if decision.fate is Fate.QUEUE:
        assert [facts.unsupported, facts.at_remote, facts.invalid, facts.bucket] == ["", "", None, ""]
        assert facts.name == ""
        assert not facts.left_out
        assert facts.size <= facts.capacity


@given(WRITES)
def test_nothing_is_sent_while_the_remote_is_away(facts: Facts) -> None:
    decision = decide(facts._replace(away=GONE))
    assert isinstance(decision, Decision)
    assert decision.fate in (Fate.QUEUE, Fate.REFUSE)


def test_a_plain_write_is_decided_without_a_look_at_its_key_its_tags_or_the_remote() -> None:
    facts = facts_of(rule=None, stuck=None, away=None)
    assert decide(facts) == Decision(Fate.QUEUE)
