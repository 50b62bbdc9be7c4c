"""Whether a put fits among the names of a store of files (SEMANTICS Q-15c): asked while the client is there, since the
store would refuse it for good when it is pushed.

Nothing is asked before the store was seen to refuse a name. While it is away, only what is pending is looked at.
"""

from s3d.api import Call
from s3d.errors import S3Error, Unavailable
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import views
from s3d.layers.queue.rules import names
from s3d.layers.queue.rules.names import Refusal, Store

GLANCE = 100
"""Pending changes below a name that are looked at."""
STANDING = frozenset(["held", "parked", "quarantined"])
"""States of what makes nothing at the remote without a person's help."""


async def check(parts: Parts, call: Call, size: int) -> None:
    """Refuse a put of so many bytes as the store would. Raises the store's own S3Error."""
    store = parts.sights.store_of_files
    if store is None:
        return
    if store.content is not None and size and call.key.endswith("/"):
        raise store.content.error(call.key)
    if (refusal := await _by_what_is_pending(parts, call, store)) is not None:
        raise refusal.error(call.key)
    if parts.health.away:
        return
    try:
        refusal = await _by_what_is_there(parts, call, store)
    except Unavailable:
        return
    if refusal is not None:
        raise refusal.error(call.key)


async def _by_what_is_pending(parts: Parts, call: Call, store: Store) -> Refusal | None:
    """The refusal of a name because of pending puts; pending deletes that make room for it are waited for."""
    for parent in names.parents(call.key):
        change = views.visible(parts.db, call.bucket, parent)
        if change is not None and change.state not in STANDING:
            if change.op != "delete":
                return store.parent
            await parts.turns.barrier(call.bucket, parent)
    if (inside := names.below(call.key)) is not None:
        found = views.listed(parts.db, call.bucket, *inside, GLANCE)
        moving = [change for change in found if change.state not in STANDING]
        if any(change.op != "delete" for change in moving):
            return store.directory
        for change in moving:
            await parts.turns.barrier(call.bucket, change.key)
    return None


async def _by_what_is_there(parts: Parts, call: Call, store: Store) -> Refusal | None:
    """The refusal of a name because of what the remote has. Raises Unavailable."""
    for parent in names.parents(call.key):
        if parts.sights.of(call.bucket, parent) != "" and await _is_object(parts, call, parent):
            return store.parent
    if (inside := names.below(call.key)) is not None and not parts.sights.of(call.bucket, call.key):
        named = {"Bucket": call.bucket, "Prefix": inside[0], "MaxKeys": 1}
        try:
            page = (await parts.client.acting(call.identity, call.trace).ask("ListObjectsV2", named)).result
        except Unavailable:
            raise
        except S3Error:
            # Who may write need not be allowed to list.
            return None
        if page.get("Contents"):
            return store.directory
    return None


async def _is_object(parts: Parts, call: Call, key: str) -> bool:
    try:
        await parts.client.acting(call.identity, call.trace).head_object(call.bucket, key)
    except Unavailable:
        raise
    except S3Error as error:
        if error.status == 404 and not error.unknown:
            parts.sights.saw(call.bucket, key, "")
        return False
    return True
