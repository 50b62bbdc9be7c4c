"""Finds out about names that are in doubt, while the remote is there: each is looked at by a HEAD.

A call may have changed such a name, and its answer did not say to what: a copy, a completed upload, a call whose answer
was lost, one that was on its way when the process ended.
"""

from s3d.api import S3
from s3d.client import Client
from s3d.errors import S3Error
from s3d.layers.names import effects, rows
from s3d.layers.names.effects import Object
from s3d.layers.names.flights import Flights
from s3d.layers.names.memory import Memory

MAX_BATCH = 100
NOT_FOUND = 404


async def look(memory: Memory, flights: Flights, inner: S3) -> None:
    """Look at all names that are in doubt, once."""
    client = Client(inner, "door")
    last = ("", "")
    while memory.db is not None:
        names = rows.in_doubt(memory.db, last, MAX_BATCH)
        for bucket, key, identity, seq in names:
            last = (bucket, key)
            if not flights.flies(bucket, key):
                await mend(memory, flights, client.acting(identity), bucket, key, seq)
        if len(names) < MAX_BATCH:
            return


async def mend(memory: Memory, flights: Flights, client: Client, bucket: str, key: str, seq: int) -> None:
    """Look at a name, where it matters. Where it was in doubt anew meanwhile, that look is for another time."""
    if memory.db is None:
        return
    if not rows.covers(memory.db, bucket, key):
        await memory.write(rows.resolve(bucket, key, seq, None), short=True)
        return
    number = flights.next()
    try:
        shown = await client.head_object(bucket, key, fresh=True, ChecksumMode="ENABLED")
        effect = effects.of_head(shown.headers, int(shown.result.get("ContentLength", -1)))
    except S3Error as error:
        effect = "gone" if error.status == NOT_FOUND and not error.unknown else "unknown"
    if effect in ("unknown", "nothing") or flights.flies(bucket, key):
        return
    text = effect.pack() if isinstance(effect, Object) else None
    await memory.write(rows.resolve(bucket, key, seq, (text, number)), short=True)
