"""What the remote has of a folder, and what it refused of it."""

from typing import Any, Protocol

from s3d.errors import Unavailable
from s3d.store.db import Database
from s3d.sync import memory
from s3d.sync.objects import Objects

CONFLICTS = {"Conflict", "Discarded"}
"""Codes of own changes that were parked since somebody else wrote the key, or the one that they waited for."""

ORIGIN = "sync:"
"""What the origin of a folder's changes begins with; its name is behind it."""


class Changes(Protocol):
    """The write queue, so far as a folder looks into it."""

    def pending_keys(self, bucket: str, prefix: str, after: str) -> list[str]:
        """Keys of which a put or a delete is pending, a page behind one."""

    def kept(self, bucket: str, prefix: str, seq: int | None, after: int) -> list[dict[str, Any]]:
        """Changes that wait for a person, a page behind a number."""

    async def discard(self, bucket: str, prefix: str, seq: int | None) -> dict[str, Any]:
        """Drop one of them."""


async def listed(changes: Changes, objects: Objects, db: Database) -> str:
    """List the remote, and say why it is not known; "" where it is. Raises S3Error but for a remote that is away: then
    what is here is sent by what both sides had."""
    await db.write(memory.begin_listing)
    after = ""
    # Before the first page: what is delivered meanwhile only counts as pending for longer.
    while keys := changes.pending_keys(objects.bucket, objects.prefix, after):
        after = keys[-1]
        await db.write(memory.pending([key.removeprefix(objects.prefix) for key in keys]))
    try:
        async for page in objects.pages():
            if not page.is_known:
                return "the remote's listing is a remembered one"
            await db.write(memory.listed(page.objects))
    except Unavailable as error:
        return error.message
    await db.write(memory.end_listing)
    return ""


async def take_back(changes: Changes, objects: Objects, db: Database) -> bool:
    """Look at own changes that the remote refused since somebody else wrote the key, and say whether there were any.
    What was sent is here still: without base and without the change, both sides are compared as two that never met
    (S-1). What nobody knows to be here (the folder is another one than it was) is fetched as long as it is pending."""
    after, is_any = 0, False
    while page := changes.kept(objects.bucket, objects.prefix, None, after):
        after = page[-1]["seq"]
        for change in page:
            # No other folder has keys here, and this one may have had another name.
            is_ours = change["origin"].startswith(ORIGIN) and change["code"] in CONFLICTS
            if is_ours and change["state"] == "superseded":
                # A newer write has the key by now, and the folder is compared with that: nobody need look at this one.
                await changes.discard(change["bucket"], "", change["seq"])
            elif is_ours and change["state"] == "parked":
                path = change["key"].removeprefix(objects.prefix)
                # A delete has no ETag, and leaves no base.
                if change["etag"] not in ("", memory.etag_of(db, path)):
                    continue
                await db.write(memory.forget(path))
                await changes.discard(change["bucket"], "", change["seq"])
                is_any = True
    return is_any
