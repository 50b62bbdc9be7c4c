"""What this gateway has seen of objects at the remote (SEMANTICS Q-18): the ETag that it last saw for a key, and which
conditions on a put the remote is known to honour, and whether it was seen to refuse a name, as a store of files does.

ETags are kept in memory, for the keys used last: a change takes its own along in the table, and what is forgotten is as
good as never seen. So is what a bucket is used for, new keys or known ones: that is a guess, and saves a request where
it is right. Nothing is asked here.
"""

from collections.abc import Mapping

from s3d.api import AnyHeaders, Call, Outcome, Reply
from s3d.layers.queue.rows import knowledge
from s3d.layers.queue.rules import names
from s3d.protocol import answers
from s3d.store.db import Database

MAX_KEYS = 20_000
"""Keys whose ETag is kept in memory."""
CONDITIONS = ("if-match", "if-none-match")


class SeenEtags:
    """What was seen of the remote."""

    def __init__(self, db: Database) -> None:
        """Take the tables."""
        self._db = db
        self._etags: dict[tuple[str, str], str] = {}
        self._honoured: frozenset[str] | None = None
        self._kind: str | None = None
        self.asked = False
        """Whether the remote was asked what it honours, or is just being asked."""
        self.disordered: set[str] = set()
        """Buckets that the remote was seen to list in another order than S3's."""
        self._rewritten: set[str] = set()
        """Buckets in which the last key that nobody had seen was there already."""

    def of(self, bucket: str, key: str) -> str | None:
        """The ETag that was last seen, without quotes; "" where no object was, None where nobody looked."""
        return self._etags.get((bucket, key))

    def saw(self, bucket: str, key: str, etag: str) -> None:
        """Note an ETag, "" for no object."""
        self._etags.pop((bucket, key), None)
        if len(self._etags) >= MAX_KEYS:
            del self._etags[next(iter(self._etags))]
        self._etags[bucket, key] = etag

    def forget(self, bucket: str, key: str) -> None:
        """Note that an object is another now, and nobody knows which."""
        self._etags.pop((bucket, key), None)

    def read(self, call: Call, reply: Reply, before: str | None) -> None:
        """Note what the remote showed by a GET or HEAD, unless something else was seen since `before`."""
        if reply.source != "remote":
            return
        missing = reply.status == 404 and reply.outcome is Outcome.REFUSED
        etag = answers.etag_of(reply.headers.get("ETag", "")) if reply.outcome is Outcome.DONE else ""
        unchanged = call.params.get("VersionId") is None and self.of(call.bucket, call.key) == before
        if unchanged and (etag or missing):
            self.saw(call.bucket, call.key, etag)

    def found(self, bucket: str, *, there: bool) -> None:
        """Note whether a key that nobody had seen was there."""
        if there:
            self._rewritten.add(bucket)
        else:
            self._rewritten.discard(bucket)

    def expects_new(self, bucket: str) -> bool:
        """Whether a key of a bucket that nobody has seen is likely to be new."""
        return bucket not in self._rewritten

    def honours(self, condition: str) -> bool:
        """Whether the remote is known to refuse a put for this header's sake."""
        if self._honoured is None:
            self._honoured = knowledge.honoured(self._db)
        return condition in self._honoured

    @property
    def store_of_files(self) -> names.Store | None:
        """What the remote says of names that it does not take; None where it was not seen to refuse any."""
        if self._kind is None:
            self._kind = knowledge.kind_of_names(self._db)
        return names.STORES.get(self._kind)

    async def refused_name(self, code: str) -> None:
        """Learn from the code by which a put was refused."""
        kind = names.BY_CODE.get(code)
        if kind is not None and names.STORES[kind] != self.store_of_files:
            await self._db.write(knowledge.remember_names(kind))
            self._kind = kind

    async def refused(self, headers: AnyHeaders | Mapping[str, str]) -> None:
        """Learn from a put with these headers that was answered with 412."""
        used = [name for name in CONDITIONS if name in headers]
        if len(used) == 1 and not self.honours(used[0]):
            honoured = frozenset([*used, *(self._honoured or ())])
            await self._db.write(knowledge.honour(honoured))
            self._honoured = honoured
