"""DeleteObjects, answered key by key (SEMANTICS Q-20): what can be queued is, in one commit; the rest is forwarded.

Pure: the document is taken apart and the answers are put together in the order of the request.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from s3d.errors import S3Error

MAX_KEYS = 1000
MAX_DOCUMENT = 2 << 20
"""Bytes; 1,000 of the longest keys, escaped, fit into it."""
MAX_RESULT = 32 << 20


@dataclass(frozen=True, slots=True)
class Bulk:
    """A DeleteObjects request."""

    objects: tuple[Mapping[str, Any], ...]
    quiet: bool

    @property
    def plain(self) -> list[str]:
        """The keys that are named by nothing but their key, each once, in order."""
        return list(dict.fromkeys(o["Key"] for o in self.objects if set(o) == {"Key"}))


def of_document(document: Mapping[str, Any]) -> Bulk:
    """Take a request's document. Raises S3Error MalformedXML where it names no key, or more than 1,000."""
    delete = document.get("Delete") or {}
    objects = tuple(delete.get("Objects") or ())
    if not 1 <= len(objects) <= MAX_KEYS or any(not o.get("Key") for o in objects):
        raise S3Error(
            "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"
        )
    return Bulk(objects, bool(delete.get("Quiet")))


def answer(bulk: Bulk, queued: Iterable[str], forwarded: Mapping[str, Any], refusal: S3Error | None) -> dict[str, Any]:
    """Put the answers together in request order.

    `forwarded` is the remote's result for what was not queued; with `refusal` there is none, and each of those keys
    gets it as its error.
    """
    done = set(queued)
    deleted = {identity(o): o for o in forwarded.get("Deleted") or ()}
    failed = {identity(o): o for o in forwarded.get("Errors") or ()}
    results: list[Mapping[str, Any]] = []
    errors: list[Mapping[str, Any]] = []
    for o in bulk.objects:
        if set(o) == {"Key"} and o["Key"] in done:
            results.append({"Key": o["Key"]})
        elif refusal is not None:
            errors.append({**named(o), "Code": refusal.code, "Message": refusal.message})
        elif identity(o) in failed:
            errors.append(failed[identity(o)])
        elif identity(o) in deleted:
            results.append(deleted[identity(o)])
        else:
            errors.append({**named(o), "Code": "InternalError", "Message": "The remote does not say what became of it"})
    return {"Deleted": [] if bulk.quiet else results, "Errors": errors}


def identity(o: Mapping[str, Any]) -> tuple[str, str]:
    """What tells two objects of a request or answer apart."""
    return o.get("Key", ""), o.get("VersionId", "")


def named(o: Mapping[str, Any]) -> dict[str, Any]:
    """Key and version of an object."""
    return {name: o[name] for name in ("Key", "VersionId") if name in o}
