"""DeleteObjects, answered key by key (SEMANTICS Q-20): plain keys are queued in one commit, the others forwarded.

What goes there holds the turn of each of its keys, so that a delete whose answer is lost is remembered at all of them
(Q-3), and what is written meanwhile is pushed behind it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from s3d.api import S3, AnyHeaders, BytesBody, Call, Outcome, Reply, read_all
from s3d.client import Client
from s3d.errors import S3Error, Unavailable
from s3d.layers.queue import entry
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.documents import Document, Documents
from s3d.layers.queue.entry import Write
from s3d.layers.queue.remote_facts import write_profiles
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.remote_facts.write_profiles import WriteProfile
from s3d.layers.queue.rows import account
from s3d.layers.queue.rows.states import Op
from s3d.layers.queue.rows.subjects import UNKNOWN
from s3d.layers.queue.rules import allowlist, bulk, limits
from s3d.layers.queue.rules.bulk import Bulk
from s3d.layers.queue.rules.decide import Decision, Reason
from s3d.layers.queue.serve import forward, writes
from s3d.layers.queue.turns import Turn, Turns
from s3d.protocol import checksums, chunked, decode, encode
from s3d.protocol.model import OPERATIONS

DELETE_OBJECTS = OPERATIONS["DeleteObjects"]


@dataclass(frozen=True, slots=True)
class Context:
    """What bulk deletes are queued and forwarded with."""

    inner: S3
    client: Client
    capacity: Capacity
    documents: Documents
    facts: RemoteFacts
    turns: Turns
    wake: Callable[[], None]
    entry: entry.Context
    forward: forward.Context
    writes: writes.Context


async def delete_many(context: Context, call: Call) -> Reply:
    """Answer a DeleteObjects."""
    check_digest(call.wire.headers)
    if call.body is None:
        return await forward.after(context.forward, call)
    async with context.documents.read(call, DELETE_OBJECTS, bulk.MAX_DOCUMENT) as document:
        return await delete_named(context, document)


async def delete_named(context: Context, document: Document) -> Reply:
    """Delete the keys that a document names."""
    call = document.call
    wanted = bulk.of_document(document.value)
    strange = allowlist.unsupported(call.wire, "DeleteObjects") or document.unknown
    plain = [key for key in wanted.plain if len(key.encode()) <= limits.MAX_KEY_LENGTH]
    members = allowlist.kept_of_delete(call.wire)
    profile = write_profiles.profile_of(call.bucket, call.identity, Op.DELETE, members) if plain else None
    write = Write(
        call=call,
        facts=entry.facts(context.entry, call, profile, unsupported=next(iter(strange), "")),
        take=lambda: _take(context, call, wanted, plain, members),
        send=lambda _: _forward(context, call, wanted),
        probe=lambda: _probe(context, call, wanted, profile),
        refuse=lambda decision: _refuse(wanted, decision),
        keys=keys_of(wanted.objects),
        profile=profile,
    )
    return await entry.serve(context.entry, write)


def check_digest(headers: AnyHeaders) -> None:
    """Refuse a request that no digest vouches for, as S3 does. Raises S3Error InvalidRequest."""
    vouched = "Content-MD5" in headers or any(name in headers for name in checksums.HEADERS)
    if not vouched and not chunked.announced(headers):
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")


async def _take(context: Context, call: Call, wanted: Bulk, plain: list[str], members: Mapping[str, str]) -> Reply:
    """Queue the keys that the queue takes, and have the remote delete the others."""
    keyed = [replace(call, params={**call.params, "Key": key}) for key in plain]
    keyed = [one for one in keyed if not await entry.is_left_out(context.entry, one, UNKNOWN)]
    plain = [one.key for one in keyed]
    room = sum(account.of_row(call.bucket, key, members) for key in plain)
    if keyed:
        async with context.capacity.take(room, files=len(plain)):
            await writes.enqueue(
                context.writes, [writes.new(context.writes, one, Op.DELETE, members=members) for one in keyed]
            )
    rest = [o for o in wanted.objects if set(o) != {"Key"} or o["Key"] not in plain]
    forwarded, refusal = await _delete(context, call, rest) if rest else ({}, None)
    result = bulk.answer(wanted, plain, forwarded, refusal)
    return encode.reply("DeleteObjects", result, {"x-s3d-durability": "local"} if keyed else {})


async def _probe(context: Context, call: Call, wanted: Bulk, profile: WriteProfile | None) -> Reply | None:
    """Have the remote delete all keys, and learn from the answer; None where nothing was sent."""
    try:
        forwarded = await _send(context, call, list(wanted.objects))
    except S3Error as error:
        if not error.unknown and (isinstance(error, Unavailable) or error.code == "SlowDown"):
            return None
        return encode.reply("DeleteObjects", bulk.answer(wanted, [], {}, error))
    if profile is not None:
        await context.facts.probed_deletes(profile, forwarded)
    return encode.reply("DeleteObjects", bulk.answer(wanted, [], forwarded, None))


def _refuse(wanted: Bulk, decision: Decision) -> Reply:
    """Refuse a request; what a rule holds is refused key by key."""
    if decision.reason is not Reason.HELD:
        return entry.refuse(decision)
    return encode.reply("DeleteObjects", bulk.answer(wanted, [], {}, decision.error))


async def _forward(context: Context, call: Call, wanted: Bulk) -> Reply:
    """Send a request on as it came."""
    async with context.turns.turn(call.bucket, keys_of(wanted.objects), call.identity) as turn:
        reply = await context.inner(call)
        turn.lost = reply.outcome is Outcome.UNKNOWN
        if reply.outcome is Outcome.DONE:
            turn.spared = await _spared(reply, wanted)
        _note(context, call, wanted.objects, turn, done=reply.outcome is Outcome.DONE)
    context.wake()
    return reply


async def _spared(reply: Reply, wanted: Bulk) -> frozenset[str]:
    """The keys that a result says were not deleted. Raises Unavailable where it does not say what became of each."""
    document = await read_all(reply.body, bulk.MAX_RESULT)
    reply.body = BytesBody(document)
    result = decode.response(DELETE_OBJECTS, reply.status, reply.headers, document)
    failed, deleted = keys_of(result.get("Errors") or ()), keys_of(result.get("Deleted") or ())
    if not wanted.quiet and not {*failed, *deleted} >= {*keys_of(wanted.objects)}:
        raise Unavailable("The remote does not say what became of each key", sent=True)
    return frozenset(failed)


async def _delete(
    context: Context, call: Call, objects: Iterable[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], S3Error | None]:
    """Have the remote delete what cannot be queued: its result, or the error where it is refused."""
    some = list(objects)
    result: dict[str, Any] = {}

    async def send(_: Decision) -> Reply:
        result.update(await _send(context, call, some))
        return Reply()

    facts = entry.facts(context.entry, call, at_remote="a delete that only the remote can do")
    try:
        await entry.serve(context.entry, Write(call=call, facts=facts, send=send, keys=keys_of(some)))
    except S3Error as error:
        return {}, error
    return result, None


async def _send(context: Context, call: Call, objects: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Send a request for some of the keys, in the turns of all of them. Raises S3Error."""
    params: dict[str, Any] = {"Bucket": call.bucket, "Delete": {"Objects": objects}}
    params |= {name: call.params.get(name) for name in ("RequestPayer", "ExpectedBucketOwner")}
    async with context.turns.turn(call.bucket, keys_of(objects), call.identity) as turn:
        _note(context, call, objects, turn, done=False)
        result = (await context.client.acting(call.identity, call.trace).ask("DeleteObjects", params)).result
        _note(context, call, objects, turn, done=True)
        turn.spared = frozenset(keys_of(result.get("Errors") or ()))
    context.wake()
    return result


def keys_of(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of some objects, each once, in order."""
    return list(dict.fromkeys(o["Key"] for o in objects if o.get("Key")))


def _note(context: Context, call: Call, objects: Iterable[Mapping[str, Any]], turn: Turn, *, done: bool) -> None:
    """Note in a turn what its request makes of its keys: nothing is there, unless a version is deleted."""
    turn.changed = turn.replaced = done
    turn.etag = "" if not any("VersionId" in o for o in objects) else None
    for key in keys_of(objects):
        context.facts.seen_etags.forget(call.bucket, key)
