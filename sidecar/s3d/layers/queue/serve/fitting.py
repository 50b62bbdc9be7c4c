"""Whether a put fits among the names of a store of files (SEMANTICS Q-15c): asked while the client is there, since the
store would refuse it for good when it is pushed.

Nothing is asked before the store was seen to refuse a name. While it is away, only what is pending is looked at.
"""

from dataclasses import dataclass

from s3d.api import Call
from s3d.client import Client
from s3d.errors import S3Error, Unavailable
from s3d.layers.health import Health
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.rows import lookups
from s3d.layers.queue.rules import names
from s3d.layers.queue.rules.names import Refusal, Store
from s3d.layers.queue.turns import Turns
from s3d.store.db import Database

MAX_BATCH = 100
"""Pending changes below a name that are looked at."""
STANDING = frozenset(["held", "parked", "quarantined"])
"""States of what makes nothing at the remote without a person's help."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the names of a store of files are looked up in."""

    db: Database
    client: Client
    health: Health
    facts: RemoteFacts
    turns: Turns


async def check(context: Context, call: Call, size: int) -> None:
    """Refuse a put of so many bytes as the store would. Raises the store's own S3Error."""
    store = context.facts.traits.store_of_files
    if store is None:
        return
    if store.content is not None and size and call.key.endswith("/"):
        raise store.content.error(call.key)
    if (refusal := await _by_what_is_pending(context, call, store)) is not None:
        raise refusal.error(call.key)
    if context.health.away:
        return
    try:
        refusal = await _by_what_is_there(context, call, store)
    except Unavailable:
        return
    if refusal is not None:
        raise refusal.error(call.key)


async def _by_what_is_pending(context: Context, call: Call, store: Store) -> Refusal | None:
    """The refusal of a name because of pending puts; pending deletes that make room for it are waited for."""
    for parent in names.parents(call.key):
        change = lookups.visible(context.db, call.bucket, parent)
        if change is not None and change.state not in STANDING:
            if change.op != "delete":
                return store.parent
            await context.turns.barrier(call.bucket, parent)
    if (inside := names.below(call.key)) is not None:
        found = lookups.listed(context.db, call.bucket, *inside, MAX_BATCH)
        moving = [change for change in found if change.state not in STANDING]
        if any(change.op != "delete" for change in moving):
            return store.directory
        for change in moving:
            await context.turns.barrier(call.bucket, change.key)
    return None


async def _by_what_is_there(context: Context, call: Call, store: Store) -> Refusal | None:
    """The refusal of a name because of what the remote has. Raises Unavailable."""
    for parent in names.parents(call.key):
        if context.facts.seen_etags.of(call.bucket, parent) != "" and await _is_object(context, call, parent):
            return store.parent
    if (inside := names.below(call.key)) is not None and not context.facts.seen_etags.of(call.bucket, call.key):
        named = {"Bucket": call.bucket, "Prefix": inside[0], "MaxKeys": 1}
        try:
            client = context.client.acting(call.identity, call.trace)
            page = (await client.ask("ListObjectsV2", named, fresh=True)).result
        except Unavailable:
            raise
        except S3Error:
            # Who may write need not be allowed to list.
            return None
        if page.get("Contents"):
            return store.directory
    return None


async def _is_object(context: Context, call: Call, key: str) -> bool:
    try:
        await context.client.acting(call.identity, call.trace).head_object(call.bucket, key, fresh=True)
    except Unavailable:
        raise
    except S3Error as error:
        if error.status == 404 and not error.unknown:
            context.facts.seen_etags.saw(call.bucket, key, "")
        return False
    return True
