"""Access keys: whom the door knows, by which secrets, and what each may do.

Values only: who reads them from a file, and when, is not this module's business. No secret is in a repr, so that none
gets into a log or a traceback (SEMANTICS A-5).
"""

import secrets
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key that requests are signed with."""

    id: str
    secrets: tuple[str, ...] = field(repr=False)
    """All of them hold: two while one takes the place of the other."""
    identity: str = ""
    """On whose behalf its requests are made at the remote; "" for the gateway's own identity."""
    read_only: bool = False
    buckets: tuple[str, ...] | None = None
    """The buckets that it may use; None: all."""


ID_LETTERS = string.ascii_uppercase + "234567"


def new_id() -> str:
    """An id that no other key has."""
    return f"S3D{''.join(secrets.choice(ID_LETTERS) for _ in range(17))}"


def new_secret() -> str:
    """A secret of 240 bits, in characters that need no quotes."""
    return secrets.token_urlsafe(30)


class Keys:
    """All access keys of a door. It never changes: a reload makes new ones."""

    __slots__ = ("_by_id", "_most", "_nobody", "anonymous")

    def __init__(self, keys: Iterable[AccessKey], anonymous: AccessKey | None) -> None:
        """Take the keys, and in `anonymous` what an unsigned request may do; None: nothing.

        Raises ValueError where an id is there twice, or a key has no secret.
        """
        by_id: dict[str, AccessKey] = {}
        for key in keys:
            if key.id in by_id:
                raise ValueError(f"the access key {key.id!r} is there twice")
            if not key.secrets or not all(key.secrets):
                raise ValueError(f"the access key {key.id!r} has no secret, or an empty one")
            by_id[key.id] = key
        self._by_id: Mapping[str, AccessKey] = MappingProxyType(by_id)
        self._most = max((len(key.secrets) for key in by_id.values()), default=1)
        # Secrets that nobody has.
        self._nobody = tuple(secrets.token_hex(20) for _ in range(self._most))
        self.anonymous = anonymous

    def __iter__(self) -> Iterator[AccessKey]:
        return iter(self._by_id.values())

    def find(self, id: str) -> AccessKey | None:  # noqa: A002
        """The key of an id; None where there is none."""
        return self._by_id.get(id)

    def candidates(self, key: AccessKey | None) -> tuple[str, ...]:
        """The secrets to try for a key, its own first, and as many for each key and for none.

        So an unknown key takes as long as a wrong secret. What matches behind the key's own secrets is nobody's.
        """
        own = key.secrets if key is not None else ()
        return own + self._nobody[len(own) :]
