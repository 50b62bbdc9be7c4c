"""What filters are told of a write or of a change (SEMANTICS F-5): what it says itself, and the tags of its bucket.

The headers are those that travel with a change, by lower-case name. What a put does not have is known not to be there;
of a delete nothing is known but its key and who asks.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from s3d.filters.match import Subject, Values
from s3d.protocol.headers import METADATA, TAGGING

LENGTH = "content-length"


def of_put(
    bucket: str, key: str, identity: str, members: Mapping[str, str], size: int | None, bucket_tags: Values
) -> Subject:
    """A put of an object of `size` bytes, or an upload of a size that nobody knows yet (None)."""
    headers: dict[str, str | None] = {LENGTH: None if size is None else str(size)}
    metadata = {}
    for name, value in members.items():
        if name.startswith(METADATA):
            metadata[name.removeprefix(METADATA)] = value
        elif name != TAGGING:
            headers[name] = value
    tags = dict(parse_qsl(members.get(TAGGING, ""), keep_blank_values=True))
    return Subject(bucket, key, bucket_tags, tags, headers, metadata, identity)


def of_delete(bucket: str, key: str, identity: str, bucket_tags: Values) -> Subject:
    """A delete."""
    return Subject(bucket, key, bucket_tags, identity=identity)
