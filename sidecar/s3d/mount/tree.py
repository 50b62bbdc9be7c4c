"""The inodes: what the kernel has looked up, and has not forgotten.

An inode is one version of an object, or a directory (SEMANTICS M-2): another version is another inode, so that no page
of the kernel's cache ever mixes two. A file that is being written keeps its inode until it is forgotten. Numbers are
made of bucket, key and version, so that a directory has the same one each time.

The kernel keeps what it has looked up for as long as it has memory, and here each of that takes half a KiB or more. So
files beyond a bound are named, the oldest first, for the kernel to forget (M-8). Directories stay: a program may be in
one, and would find itself in a place without a name.
"""

import errno
import hashlib
import os
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from s3d.mount import paths
from s3d.mount.views import Directory, Entry, File

if TYPE_CHECKING:
    from s3d.mount.sessions import Session

ROOT = 1
"""The inode of the root, as the kernel has it."""
MAX_AT_ONCE = 64
"""Inodes that are looked at, where there are too many, each time that one comes."""


@dataclass(slots=True, eq=False)
class Node:
    """An inode."""

    ino: int
    what: Entry
    lookups: int = 0
    """How often the kernel has got it by a look-up."""
    opens: int = 0
    session: "Session | None" = None
    """What is being written to it."""
    unasked_at: int | None = None
    """The latest event of the gateway when the latest look-up gave it out without a question to the S3; None where that
    has asked."""
    name: tuple[str, str, str] | None = field(default=None, repr=False)
    """By which it is found in the tree; None for one that has no name any more."""


class Tree:
    """All inodes."""

    def __init__(self, most: int) -> None:
        """Begin with the root; `most` bounds the files that nobody has open."""
        self._most = most
        root = Node(ROOT, Directory("", ""), lookups=1, name=("", "", ""))
        self._nodes = {ROOT: root}
        self._names: dict[tuple[str, str, str], Node] = {("", "", ""): root}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._nodes)

    def node(self, ino: int) -> Node:
        """An inode by its number. Raises OSError for one that nobody has looked up."""
        try:
            return self._nodes[ino]
        except KeyError:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None

    def of(self, what: Entry) -> Node:
        """The inode of what was found. What a HEAD says of a version stays, whatever a listing says of it later."""
        name = name_of(what)
        node = self._names.get(name)
        if node is None:
            node = self._add(what, name)
        elif isinstance(what, File) and what.members and node.session is None:
            node.what = what
        return node

    def _add(self, what: Entry, name: tuple[str, str, str]) -> Node:
        ino = number(name)
        while ino in self._nodes:
            ino = ino % (1 << 63) + 2
        node = self._nodes[ino] = self._names[name] = Node(ino, what, name=name)
        return node

    def rename(self, node: Node, what: Entry) -> None:
        """Let an inode be found as what it is now."""
        self.unname(node)
        node.what, node.name = what, name_of(what)
        if taken := self._names.get(node.name):
            taken.name = None
        self._names[node.name] = node

    def unname(self, node: Node) -> None:
        """Let an inode be found by its number alone."""
        if node.name is not None:
            self._names.pop(node.name, None)
            node.name = None

    def below(self, bucket: str, prefix: str) -> list[Node]:
        """The inodes of a directory and of all in it."""
        return [node for (place, key, _), node in self._names.items() if place == bucket and key.startswith(prefix)]

    def at(self, bucket: str, key: str) -> list[Node]:
        """The inodes of the versions of an object that somebody has open."""
        return [
            node for (place, name, _), node in self._names.items() if node.opens and place == bucket and name == key
        ]

    def surplus(self) -> list[tuple[int, str]]:
        """Files that the kernel is to forget, as the inode of a directory and a name in it."""
        found: list[tuple[int, str]] = []
        for node in list(islice(self._nodes.values(), max(0, min(MAX_AT_ONCE, len(self._nodes) - self._most)))):
            # What stays, and what the kernel has not forgotten yet, has its turn again after all others.
            self._nodes[node.ino] = self._nodes.pop(node.ino)
            if node.name is None or not isinstance(node.what, File) or node.opens or node.session is not None:
                continue
            bucket, key, _ = node.name
            place = self._names.get((bucket, paths.parent_of(key), ""))
            if place is not None:
                found.append((place.ino, paths.name_of(key)))
        return found

    def forget(self, ino: int, lookups: int) -> None:
        """Take back so many look-ups; what the kernel does not know any more goes."""
        node = self._nodes.get(ino)
        if node is not None and ino != ROOT:
            node.lookups -= lookups
            self.tidy(node)

    def tidy(self, node: Node) -> None:
        """Drop an inode that nobody knows or has open."""
        if node.lookups <= 0 and not node.opens and node.session is None and node.ino != ROOT:
            self._nodes.pop(node.ino, None)
            self.unname(node)


def name_of(what: Entry) -> tuple[str, str, str]:
    """By what an inode is found: bucket, key or prefix, and version."""
    if isinstance(what, File):
        return what.bucket, what.key, what.etag
    return what.bucket, what.prefix, ""


def number(name: tuple[str, str, str]) -> int:
    """The number of an inode: 63 bits, and not the root's."""
    digest = hashlib.blake2b("\0".join(name).encode(errors="surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) % ((1 << 63) - 2) + 2
