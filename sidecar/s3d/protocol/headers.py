"""Names of headers that more than one floor knows: rules judge by them, and rows keep what they say."""

from s3d.api import AnyHeaders

TAGGING = "x-amz-tagging"
"""The tags of an object; the member of a change that holds them is called so, too."""
METADATA = "x-amz-meta-"
"""What the names of user metadata begin with."""
TAG_COUNT = "x-amz-tagging-count"
"""How many tags an object has, in an answer to who may know."""
REMEMBERED = 32
"""Lists of names of which is remembered what they say: a client sends the same ones with each of its requests."""


def names_of(headers: AnyHeaders) -> tuple[str, ...]:
    """The name of each header, in order, as it was sent."""
    names = tuple(headers)
    # A name that is there twice comes once by itself.
    return names if len(names) == len(headers) else tuple(name for name, _ in headers.items())
