"""Names that a store of files refuses, where S3 takes any: an object cannot be a directory as well (SEMANTICS Q-15c).

What a store refuses by one of these codes tells which kind of store it is, and so by which codes it refuses the others.
Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from s3d.errors import S3Error


@dataclass(frozen=True, slots=True)
class Refusal:
    """A store's own answer to a name."""

    code: str
    message: str
    status: int

    def error(self, key: str) -> S3Error:
        """The answer to a put of a key."""
        return S3Error(self.code, self.message, status=self.status, details={"Key": key})


@dataclass(frozen=True, slots=True)
class Store:
    """What a kind of store says."""

    parent: Refusal
    """Of a key below an object."""
    directory: Refusal
    """Of a key that has others below it."""
    content: Refusal | None = None
    """Of bytes under a name that ends with a slash; None where it takes them."""


STORES: Mapping[str, Store] = {
    "posix": Store(
        Refusal("ObjectParentIsFile", "Object parent already exists as a file.", 409),
        Refusal("ExistingObjectIsDirectory", "Existing Object is a directory.", 409),
        Refusal("DirectoryObjectContainsData", "Directory object contains data payload.", 400),
    ),
    "minio": Store(
        Refusal(
            "XMinioParentIsObject",
            "Object-prefix is already an object, please choose a different object-prefix name.",
            400,
        ),
        Refusal("XMinioObjectExistsAsDirectory", "Object name already exists as a directory.", 409),
    ),
}
"""By the name under which it is remembered."""
BY_CODE = {
    refusal.code: name
    for name, store in STORES.items()
    for refusal in (store.parent, store.directory, store.content)
    if refusal is not None
}


def parents(key: str) -> list[str]:
    """The names that must not be objects where a key is one, in a store of files: `a` and `a/b` of `a/b/c`."""
    return [key[:end] for end, letter in enumerate(key) if letter == "/" and end]


def below(key: str) -> tuple[str, str] | None:
    """The range of names that must not be objects where a key is one; None for the name of a directory."""
    return None if key.endswith("/") else (f"{key}/", f"{key}0")
