"""Names and keys: which objects have a place in the tree, and where it is. Pure.

The first component of a path is the bucket, the rest is the key. A directory is a key that ends with a slash: its
prefix, whether or not there is an object of that name (a marker). A key of which a component is empty, `.`, `..`, too
long or no UTF-8 has no place: nobody can say it as a path.
"""

import errno
import os

MAX_NAME = 255
"""Bytes of a component; the kernel takes no longer one."""


def text_of(name: bytes) -> str:
    """A name as the kernel gives it. Raises OSError for one that can be no part of a key."""
    if len(name) > MAX_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ)) from None


def has_place(name: str) -> bool:
    """Whether a component of a key, without slashes, can be a name in a directory."""
    if name in ("", ".", "..") or "\0" in name:
        return False
    try:
        return len(name.encode()) <= MAX_NAME
    except UnicodeEncodeError:
        return False


def parent_of(key: str) -> str:
    """The prefix of the directory that a key, or a prefix, is in; "" for the bucket."""
    head, slash, _ = key.removesuffix("/").rpartition("/")
    return head + slash


def name_of(key: str) -> str:
    """The last component of a key or a prefix."""
    return key.removesuffix("/").rpartition("/")[2]
