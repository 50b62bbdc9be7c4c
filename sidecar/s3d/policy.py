"""Questions for a policy that somebody else keeps, and its answers (SEMANTICS F-3). Pure.

A question has the members that are listed below and no others: no header of a request is in it but those that
describe the object, and no access key, token or signature. What is not known of an object is left out, so that a policy
that asks for it comes to no decision.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from s3d.filters.match import Subject

LENGTH = "content-length"
HEADERS = frozenset(
    "cache-control content-disposition content-encoding content-language content-type expires x-amz-acl "
    "x-amz-server-side-encryption x-amz-storage-class x-amz-website-redirect-location".split()
)
"""The headers of an object that a policy is told."""


class Operation(StrEnum):
    """What is to be done to the object."""

    PUT = "put"
    """It is made, whole or of parts."""
    DELETE = "delete"
    CACHE = "cache"
    """A copy of it is kept and answers reads."""


class Verdict(StrEnum):
    """What a policy says."""

    ALLOW = "allow"
    DENY = "deny"
    NONE = "none"
    """No decision: undefined, no boolean, an error, or no answer in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question."""

    verdict: Verdict
    decision: str = ""
    """The id by which whoever keeps the policy finds the decision again."""
    why: str = ""
    """Why there is none, in words."""
    is_reached: bool = True
    """Whether anybody answered at all."""


Question = str
"""A JSON object: two are equal where they ask the same."""
Ask = Callable[[Question], Awaitable[Answer]]
"""Asks; whatever happens to it is an answer."""


def question(operation: Operation, subject: Subject) -> Question:
    """What a policy is asked about an object."""
    told: dict[str, object] = {"operation": operation, "bucket": subject.bucket, "key": subject.key}
    if subject.identity is not None:
        told["identity"] = subject.identity
    if subject.tags is not None:
        told["tags"] = {name: value for name, value in subject.tags.items() if value is not None}
    if subject.metadata is not None:
        told["metadata"] = {name: value for name, value in subject.metadata.items() if value is not None}
    if subject.headers is not None:
        headers = subject.headers
        told["headers"] = {name: headers[name] for name in headers.keys() & HEADERS if headers[name] is not None}
        if (length := headers.get(LENGTH)) is not None:
            told["size"] = int(length)
    return json.dumps(told, sort_keys=True)
