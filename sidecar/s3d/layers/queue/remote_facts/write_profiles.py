"""Write profiles (SEMANTICS Q-14): identity, bucket, operation, and the members that need a right of their own.

What the remote said to the first write of a profile holds for the next ones, until it says otherwise. Kept on disk,
and looked up in memory after the first look. Nothing is asked here: `probing` asks, and `facts` learns.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from s3d.layers.queue.rows import remote_facts
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rules import allowlist
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database

VERIFIED, SUSPECT = "proven", "doubted"
MEMBERS = allowlist.GRANTS | allowlist.SHOWN | {TAGGING, allowlist.OWNER, allowlist.PAYER}
"""Members by which profiles differ: for each a policy or a store may refuse what it allows without."""
OPERATIONS = {"put": "PutObject", "delete": "DeleteObject", "complete": "CompleteMultipartUpload"}
"""What the push of a change is, by its op."""
MAX_KNOWN = 10_000
"""Write profiles whose verdict, or its absence, is kept in memory."""
MAX_UPLOADS = 1_000
"""Uploads under way whose profile is kept in memory; of those before them nothing is learned."""


class WriteProfile(NamedTuple):
    """What a kind of write has in common."""

    bucket: str
    identity: str
    operation: str
    members: str


def profile_of(bucket: str, identity: str, op: str, members: Mapping[str, str]) -> WriteProfile:
    """The profile of a change. A value counts where there are few; the name of a tag or grantee makes no profile."""
    if op == "tag":
        return WriteProfile(bucket, identity, "PutObjectTagging" if members[TAGGING] else "DeleteObjectTagging", "")
    if MEMBERS.isdisjoint(members):
        return WriteProfile(bucket, identity, OPERATIONS[op], "")
    used = MEMBERS & members.keys()
    named = [f"{name}={members[name]}" if name in allowlist.VALUES else name for name in used]
    return WriteProfile(bucket, identity, OPERATIONS[op], " ".join(sorted(named)))


def of_change(change: Change) -> WriteProfile:
    """The profile of a change that is queued."""
    return profile_of(change.bucket, change.identity, change.op, change.members)


class WriteProfiles:
    """The profiles that were judged."""

    def __init__(self, db: Database) -> None:
        """Take the tables."""
        self._db = db
        self._known: dict[WriteProfile, str] = {}
        self._uploads: dict[str, WriteProfile] = {}

    def verdict(self, profile: WriteProfile) -> str:
        """VERIFIED, SUSPECT (an answer was contrary: the next write goes through), or "" where nothing is known."""
        verdict = self._known.get(profile)
        if verdict is None:
            verdict = remote_facts.verdict(self._db, profile)
            self._keep(profile, verdict)
        return verdict

    async def learn(self, profile: WriteProfile, verdict: str) -> None:
        """Remember a verdict. Raises StoreFailed."""
        if self.verdict(profile) == verdict:
            return
        await self._db.write(remote_facts.remember_verdict(profile, verdict, time.time()))
        self._keep(profile, verdict)

    async def forget(self, bucket: str) -> None:
        """Forget all profiles of a bucket ("": of every bucket). Raises StoreFailed."""
        await self._db.write(remote_facts.forget_profiles(bucket))
        self._known.clear()

    def begun(self, upload: str, profile: WriteProfile) -> None:
        """Note the profile of an upload that was begun at the remote, by the remote's id."""
        while len(self._uploads) >= MAX_UPLOADS:
            del self._uploads[next(iter(self._uploads))]
        self._uploads[upload] = profile

    def of_upload(self, upload: str) -> WriteProfile | None:
        """The profile of such an upload; None of any other."""
        return self._uploads.get(upload)

    def ended(self, upload: str) -> None:
        """Note that such an upload is complete or aborted."""
        self._uploads.pop(upload, None)

    def _keep(self, profile: WriteProfile, verdict: str) -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[profile] = verdict
