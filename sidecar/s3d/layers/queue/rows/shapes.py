"""Shapes of writes (SEMANTICS Q-14): identity, bucket, operation, and the members that need a right of their own.

What the remote said to the first write of a shape holds for the next ones, until it says otherwise. Kept on disk,
and looked up in memory after the first look. The module decides nothing: `proving` asks and learns.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from s3d.layers.queue.rows import queries
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rules import understood
from s3d.layers.queue.rules.tags import TAGGING
from s3d.store.db import Database

SQL = queries.load("shapes")
PROVEN, DOUBTED = "proven", "doubted"
MEMBERS = understood.GRANTS | understood.SHOWN | {TAGGING, understood.OWNER, understood.PAYER}
"""Members by which shapes differ: for each a policy or a store may refuse what it allows without."""
OPERATIONS = {"put": "PutObject", "delete": "DeleteObject", "complete": "CompleteMultipartUpload"}
"""What the push of a change is, by its op."""
MOST_KNOWN = 10_000
"""Shapes whose verdict, or its absence, is kept in memory."""
MOST_UPLOADS = 1_000
"""Uploads under way whose shape is kept in memory; of those before them nothing is learned."""


class Shape(NamedTuple):
    """One shape."""

    bucket: str
    identity: str
    operation: str
    members: str


def shape_of(bucket: str, identity: str, op: str, members: Mapping[str, str]) -> Shape:
    """The shape of a change. A value counts where there are few; the name of a tag or grantee makes no shape."""
    if op == "tag":
        return Shape(bucket, identity, "PutObjectTagging" if members[TAGGING] else "DeleteObjectTagging", "")
    used = MEMBERS & members.keys()
    named = [f"{name}={members[name]}" if name in understood.VALUES else name for name in used]
    return Shape(bucket, identity, OPERATIONS[op], " ".join(sorted(named)))


def of_change(change: Change) -> Shape:
    """The shape of a change that is queued."""
    return shape_of(change.bucket, change.identity, change.op, change.members)


class Shapes:
    """The shapes that were judged."""

    def __init__(self, db: Database) -> None:
        """Take the tables."""
        self._db = db
        self._known: dict[Shape, str] = {}
        self._uploads: dict[str, Shape] = {}

    def verdict(self, shape: Shape) -> str:
        """PROVEN, DOUBTED (an answer was contrary: the next write goes through), or "" where nothing is known."""
        verdict = self._known.get(shape)
        if verdict is None:
            rows = self._db.read(SQL["verdict"], shape)
            verdict = rows[0][0] if rows else ""
            self._keep(shape, verdict)
        return verdict

    async def learn(self, shape: Shape, verdict: str) -> None:
        """Remember a verdict. Raises StoreFailed."""
        if self.verdict(shape) == verdict:
            return
        row = (*shape, verdict, time.time())
        await self._db.write(lambda db: db.execute(SQL["learn"], row))
        self._keep(shape, verdict)

    async def forget(self, bucket: str) -> None:
        """Forget all shapes of a bucket ("": of every bucket). Raises StoreFailed."""
        await self._db.write(lambda db: db.execute(SQL["forget"], (bucket,)))
        self._known.clear()

    def begun(self, upload: str, shape: Shape) -> None:
        """Note the shape of an upload that was begun at the remote, by the remote's id."""
        while len(self._uploads) >= MOST_UPLOADS:
            del self._uploads[next(iter(self._uploads))]
        self._uploads[upload] = shape

    def of_upload(self, upload: str) -> Shape | None:
        """The shape of such an upload; None of any other."""
        return self._uploads.get(upload)

    def ended(self, upload: str) -> None:
        """Note that such an upload is complete or aborted."""
        self._uploads.pop(upload, None)

    def _keep(self, shape: Shape, verdict: str) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[shape] = verdict
