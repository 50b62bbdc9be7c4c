"""What kind of store the remote is: which conditions on a put, a delete or a copy it honours (SEMANTICS Q-18, Q-18c,
Q-18f), which names it does not take (Q-15c), and in which order it lists (R-8b).

Each trait is seen in an answer. The first two are remembered on disk. Nothing is asked here.
"""

from collections.abc import Mapping

from s3d.api import AnyHeaders
from s3d.layers.queue.rows import remote_facts
from s3d.layers.queue.rules import names
from s3d.store.db import Database

CONDITIONS = ("if-match", "if-none-match")
DELETE_IF_MATCH = "delete:if-match"
COPY_IF_NONE_MATCH = "copy:if-none-match"
"""Among what is honoured: If-Match on a delete, and If-None-Match on a copy. No header is called so."""


def condition_of(there: str) -> tuple[str, str]:
    """The header of a put that says that an ETag, "" for no object, is there."""
    return ("if-match", f'"{there}"') if there else ("if-none-match", "*")


class StoreTraits:
    """The traits that were seen."""

    def __init__(self, db: Database) -> None:
        """Take the tables."""
        self._db = db
        self._honoured: frozenset[str] | None = None
        self._kind: str | None = None
        self._disordered: set[str] = set()
        self.asked: set[str] = set()
        """Conditions on a put of which the remote was asked whether it honours them, or is just being asked."""
        self.ignores_on_deletes = False
        """Whether it has deleted an object in spite of an If-Match. A restart asks again: that costs no request."""
        self.lacks: set[str] = set()
        """Conditions with which it took no put or upload that it took without, as `put:if-match`. A restart asks
        again."""
        self.ignores_on_copies = False
        """Whether it was asked for a copy that an If-None-Match forbids, and said nothing of the condition."""

    def honours(self, condition: str) -> bool:
        """Whether the remote is known to refuse a put for this header's sake."""
        if self._honoured is None:
            self._honoured = remote_facts.honoured(self._db)
        return condition in self._honoured

    async def refused_put(self, headers: AnyHeaders | Mapping[str, str]) -> None:
        """Learn from a put with these headers that was answered with 412. Raises StoreFailed."""
        used = [name for name in CONDITIONS if name in headers]
        if len(used) == 1:
            await self._learn(used[0])

    @property
    def honours_on_deletes(self) -> bool:
        """Whether the remote is known to refuse a delete for its If-Match."""
        return self.honours(DELETE_IF_MATCH)

    async def refused_delete(self) -> None:
        """Learn from a delete with an If-Match that was answered with 412. Raises StoreFailed."""
        await self._learn(DELETE_IF_MATCH)

    @property
    def honours_on_copies(self) -> bool:
        """Whether the remote is known to refuse a copy for its If-None-Match."""
        return self.honours(COPY_IF_NONE_MATCH)

    async def refused_copy(self) -> None:
        """Learn from a copy with an If-None-Match that was answered with 412. Raises StoreFailed."""
        await self._learn(COPY_IF_NONE_MATCH)

    async def _learn(self, honoured: str) -> None:
        if not self.honours(honoured):
            known = frozenset([honoured, *(self._honoured or ())])
            await self._db.write(remote_facts.honour(known))
            self._honoured = known

    @property
    def store_of_files(self) -> names.Store | None:
        """What the remote says of names that it does not take; None where it was not seen to refuse any."""
        if self._kind is None:
            self._kind = remote_facts.kind_of_names(self._db)
        return names.STORES.get(self._kind)

    async def refused_name(self, code: str) -> None:
        """Learn from the code by which a put was refused. Raises StoreFailed."""
        kind = names.BY_CODE.get(code)
        if kind is not None and names.STORES[kind] != self.store_of_files:
            await self._db.write(remote_facts.remember_names(kind))
            self._kind = kind

    def lists_in_order(self, bucket: str) -> bool:
        """Whether the remote was never seen to list a bucket in another order than S3's."""
        return bucket not in self._disordered

    def listed_out_of_order(self, bucket: str) -> None:
        """Note that it was."""
        self._disordered.add(bucket)
