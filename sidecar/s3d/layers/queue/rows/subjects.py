"""What filters get to know of a write or of a change (SEMANTICS F-5): what it says itself, and the tags of its bucket.

The headers are those that travel with a change, by lower-case name. What a put does not have is known not to be there;
of a delete nothing is known but its key and who asks.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qsl

from s3d.filters.match import Subject, Values
from s3d.protocol.headers import METADATA, TAGGING

LENGTH = "content-length"


class Content(NamedTuple):
    """What is known of the object that a write makes."""

    members: Mapping[str, str] = MappingProxyType({})
    size: int | None = None
    """In bytes; None: not known yet."""
    knows_tags: bool = True
    knows_headers: bool = True
    """Whether members hold all of them."""


UNKNOWN = Content(knows_tags=False, knows_headers=False)
"""Of a delete, and of what only the remote could tell."""


def of(bucket: str, key: str, identity: str, content: Content, bucket_tags: Values) -> Subject:
    """What a filter is told."""
    tags = headers = metadata = None
    if content.knows_tags:
        tags = dict(parse_qsl(content.members.get(TAGGING, ""), keep_blank_values=True))
    if content.knows_headers:
        headers, metadata = _described(content.members, content.size)
    return Subject(bucket, key, bucket_tags, tags, headers, metadata, identity)


def _described(members: Mapping[str, str], size: int | None) -> tuple[dict[str, str | None], dict[str, str]]:
    """Headers and metadata."""
    headers: dict[str, str | None] = {LENGTH: None if size is None else str(size)}
    metadata: dict[str, str] = {}
    for name, value in members.items():
        if name.startswith(METADATA):
            metadata[name.removeprefix(METADATA)] = value
        elif name != TAGGING:
            headers[name] = value
    return headers, metadata
