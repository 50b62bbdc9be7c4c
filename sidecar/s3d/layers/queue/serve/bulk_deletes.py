"""DeleteObjects, answered key by key (SEMANTICS Q-20): plain keys are queued in one commit, the others forwarded.

What goes there holds the turn of each of its keys, so that a delete whose answer is lost is remembered at all of them
(Q-3), and what is written meanwhile is pushed behind it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from s3d.api import BytesBody, Call, Outcome, Reply, read_all
from s3d.errors import S3Error, Unavailable
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import account
from s3d.layers.queue.rules import bulk, limits, understood
from s3d.layers.queue.rules.bulk import Bulk
from s3d.layers.queue.serve import forward, proving, withheld, writes
from s3d.layers.queue.turns import Turn
from s3d.protocol import decode, encode
from s3d.protocol.model import OPERATIONS

DELETE_OBJECTS = OPERATIONS["DeleteObjects"]


async def delete_many(parts: Parts, call: Call) -> Reply:
    """Answer a DeleteObjects."""
    bucket = await parts.buckets.get(call.bucket)
    if call.body is None:
        return await forward.after(parts, call)
    async with parts.documents.read(call, DELETE_OBJECTS, bulk.LARGEST_DOCUMENT) as document:
        wanted = bulk.of_document(document.value)
        call = document.call
        strange = understood.foreign(call.wire, "DeleteObjects")
        if parts.buckets.through(bucket) or strange or document.unknown:
            return await _forward(parts, call, wanted)
        return await _delete_all(parts, call, wanted)


async def _delete_all(parts: Parts, call: Call, wanted: Bulk) -> Reply:
    """Queue what can be queued, and forward the rest."""
    plain = [key for key in wanted.plain if len(key.encode()) <= limits.LONGEST_KEY]
    members = understood.kept_of_delete(call.wire)
    if plain and (shape := proving.first_of_bulk(parts, call, members)) is not None:
        forwarded, refusal = await _delete(parts, call, wanted.objects)
        await proving.learn_of_bulk(parts, shape, forwarded)
        if refusal is None or refusal.unknown or not (isinstance(refusal, Unavailable) or refusal.code == "SlowDown"):
            return encode.reply("DeleteObjects", bulk.answer(wanted, [], forwarded, refusal))
        proving.unproven(parts)
    room = sum(account.of_row(call.bucket, key, members) for key in plain)
    async with parts.room.take(room, files=len(plain)):
        keyed = [replace(call, params={**call.params, "Key": key}) for key in plain]
        await writes.enqueue(parts, [writes.new(parts, one, "delete", members=members) for one in keyed])
    rest = [o for o in wanted.objects if set(o) != {"Key"} or o["Key"] not in plain]
    forwarded, refusal = await _delete(parts, call, rest) if rest else ({}, None)
    result = bulk.answer(wanted, plain, forwarded, refusal)
    return encode.reply("DeleteObjects", result, {"x-s3d-durability": "local"})


async def _forward(parts: Parts, call: Call, wanted: Bulk) -> Reply:
    """Send a request on as it came."""
    try:
        await withheld.check(parts, call, "DeleteObjects")
    except S3Error as error:
        return encode.reply("DeleteObjects", bulk.answer(wanted, [], {}, error))
    async with parts.turns.turn(call.bucket, keys_of(wanted.objects), call.identity) as turn:
        reply = await parts.inner(call)
        turn.lost = reply.outcome is Outcome.UNKNOWN
        if reply.outcome is Outcome.DONE:
            turn.spared = await _spared(reply, wanted)
        _note(parts, call, wanted.objects, turn, done=reply.outcome is Outcome.DONE)
    parts.wake()
    return reply


async def _spared(reply: Reply, wanted: Bulk) -> frozenset[str]:
    """The keys that a result says were not deleted. Raises Unavailable where it does not say what became of each."""
    document = await read_all(reply.body, bulk.LARGEST_RESULT)
    reply.body = BytesBody(document)
    result = decode.response(DELETE_OBJECTS, reply.status, reply.headers, document)
    failed, deleted = keys_of(result.get("Errors") or ()), keys_of(result.get("Deleted") or ())
    if not wanted.quiet and not {*failed, *deleted} >= {*keys_of(wanted.objects)}:
        raise Unavailable("The remote does not say what became of each key", sent=True)
    return frozenset(failed)


async def _delete(
    parts: Parts, call: Call, objects: Iterable[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], S3Error | None]:
    """Have the remote delete what cannot be queued: its result, or why there is none."""
    some = list(objects)
    params: dict[str, Any] = {"Bucket": call.bucket, "Delete": {"Objects": some}}
    params |= {name: call.params.get(name) for name in ("RequestPayer", "ExpectedBucketOwner")}
    try:
        await withheld.check(parts, call, "only the remote can do it")
        async with parts.turns.turn(call.bucket, keys_of(some), call.identity) as turn:
            _note(parts, call, some, turn, done=False)
            result = (await parts.client.acting(call.identity, call.trace).ask("DeleteObjects", params)).result
            _note(parts, call, some, turn, done=True)
            turn.spared = frozenset(keys_of(result.get("Errors") or ()))
    except S3Error as error:
        return {}, error
    parts.wake()
    return result, None


def keys_of(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of some objects, each once, in order."""
    return list(dict.fromkeys(o["Key"] for o in objects if o.get("Key")))


def _note(parts: Parts, call: Call, objects: Iterable[Mapping[str, Any]], turn: Turn, *, done: bool) -> None:
    """Note in a turn what its request makes of its keys: nothing is there, unless a version is deleted."""
    turn.changed = turn.replaced = done
    turn.etag = "" if not any("VersionId" in o for o in objects) else None
    for key in keys_of(objects):
        parts.sights.forget(call.bucket, key)
