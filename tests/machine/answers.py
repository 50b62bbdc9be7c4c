"""What an answer says of an object."""

from s3d.errors import S3Error
from tests.callers import Answer
from tests.model import State, Thing, shown
from tests.onion import LEFT


def away(answer: Answer | S3Error) -> bool:
    """Whether a call was refused for now."""
    return isinstance(answer, S3Error) and (
        answer.status in (500, 502, 503, 504) or answer is LEFT or answer.code in ("RequestTimeout", "NotFound")
    )


def asked(answer: Answer) -> bool:
    """Whether the remote, or the queue, was asked for an answer; else it is a cache's own."""
    return answer.headers.get("x-cache") not in ("HIT", "STALE")


def same(state: State, answer: Answer) -> bool:
    """Whether an answer shows the members of a state."""
    return state is not None and (
        answer.etag,
        answer.result.get("Metadata", {}).get("n", ""),
        answer.result.get("ContentType"),
        answer.result.get("TagCount", 0),
    ) == (state.etag, state.number, state.kind, len(state.tags))


def said(answer: Answer) -> str:
    """An answer in a few words."""
    n = answer.result.get("Metadata", {}).get("n", "")
    return (
        shown(Thing(answer.data, answer.etag, n, answer.result.get("ContentType", "")))
        + f", {answer.result.get('TagCount', 0)} tags"
    )


def holds(condition: dict[str, str], state: State) -> bool:
    """Whether a condition of a write holds."""
    return (
        state is None if "IfNoneMatch" in condition else state is not None and condition["IfMatch"] == f'"{state.etag}"'
    )


def rolled(key: str, prefix: str, delimiter: str) -> str:
    """The common prefix that stands for a key; "" where it stands for itself."""
    at = key.find(delimiter, len(prefix)) if delimiter and key.startswith(prefix) else -1
    return key[: at + len(delimiter)] if at >= 0 else ""
