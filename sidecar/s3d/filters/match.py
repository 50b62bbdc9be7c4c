"""Whether rules match an object: yes, no, or unknown (SEMANTICS F-5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from s3d.filters.grammar import as_number
from s3d.filters.rule import ORDER, Condition, Member, Operator, Rule, Rules

Values = Mapping[str, str | None] | None
"""Names and values. None in place of a value: whether there is one is not known; None as a whole: nothing is known."""


class Truth(StrEnum):
    """An answer in three values."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of an object, or of a request that concerns one."""

    bucket: str
    key: str
    bucket_tags: Values = None
    tags: Values = None
    headers: Values = None
    """By lower-case name; content-length is the length of the object."""
    metadata: Values = None
    """By lower-case name, without x-amz-meta-."""
    identity: str | None = None
    """Who asks; None: not known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a list says of a subject."""

    answer: Truth
    """Unknown where a rule that cannot be judged would turn the answer of those before it."""
    of_known: bool
    """The answer of the rules that can be judged."""
    decider: int | None
    """The position of the rule that decided, or that cannot be judged; None: no rule did."""
    rules: tuple[Truth, ...]
    """Of each rule, whether it matches."""


def decide(rules: Rules, subject: Subject) -> Verdict:
    """Ask a list: the last rule that matches decides."""
    answer = Truth.YES if rules.begins_with_all else Truth.NO
    of_known = rules.begins_with_all
    decider: int | None = None
    said = tuple(matches(rule, subject) for rule in rules.rules)
    for position, (rule, truth) in enumerate(zip(rules.rules, said, strict=True)):
        wanted = Truth.NO if rule.excludes else Truth.YES
        if truth is Truth.YES:
            answer, of_known, decider = wanted, not rule.excludes, position
        elif truth is Truth.UNKNOWN and answer is not wanted:
            answer, decider = Truth.UNKNOWN, position
    return Verdict(answer, of_known, decider, said)


def matches(rule: Rule, subject: Subject) -> Truth:
    """Whether one rule matches, whatever it does then."""
    if not rule.bucket.matches(subject.bucket) or not rule.key.matches(subject.key):
        return Truth.NO
    answer = Truth.YES
    for condition in rule.conditions:
        truth = holds(condition, subject)
        if truth is Truth.NO:
            return Truth.NO
        if truth is Truth.UNKNOWN:
            answer = Truth.UNKNOWN
    return answer


def holds(condition: Condition, subject: Subject) -> Truth:
    """Whether a condition holds. A tag that is not there is unequal to every value."""
    match condition.member:
        case Member.IDENTITY:
            known: Values = {"": subject.identity}
        case Member.BUCKET_TAG:
            known = subject.bucket_tags
        case Member.TAG:
            known = subject.tags
        case Member.HEADER:
            known = subject.headers
        case Member.METADATA:
            known = subject.metadata
    if known is None:
        return Truth.UNKNOWN
    if condition.name not in known:
        return truth(holds=condition.operator is Operator.UNEQUAL)
    value = known[condition.name]
    if value is None:
        return Truth.UNKNOWN
    if condition.operator is Operator.PRESENT:
        return Truth.YES
    if condition.operator in ORDER:
        return compared(value, condition)
    return truth(holds=condition.value.matches(value) is (condition.operator is Operator.EQUAL))


def compared(value: str, condition: Condition) -> Truth:
    """Compare numbers; what is no number is in no order with one."""
    number = as_number(value)
    if number is None:
        return Truth.UNKNOWN
    match condition.operator:
        case Operator.LESS:
            return truth(holds=number < condition.number)
        case Operator.AT_MOST:
            return truth(holds=number <= condition.number)
        case Operator.MORE:
            return truth(holds=number > condition.number)
        case _:
            return truth(holds=number >= condition.number)


def truth(*, holds: bool) -> Truth:
    """One of the two values that are known."""
    return Truth.YES if holds else Truth.NO
