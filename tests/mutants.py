"""Mutants of the write queue: each takes one promise out of the product, and the state machine must see it."""

import asyncio
import contextlib
import os
from dataclasses import replace
from typing import Any

import pytest
from multidict import CIMultiDict

from s3d.api import Body, BytesBody, Call, Reply, read_all
from s3d.client import Answer
from s3d.errors import S3Error, Unavailable
from s3d.layers.judge import Judge
from s3d.layers.queue import layer, turns
from s3d.layers.queue.push import change_body, send
from s3d.layers.queue.push.change_body import open_change
from s3d.layers.queue.rows import changes, holds, lookups, order, schema, transitions, verdicts
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.serve import listing, reads
from s3d.protocol import answers, listings
from s3d.protocol.answers import Meaning
from s3d.store import files, syncs
from s3d.store.bodies import Bodies


def bodies_without_sync(patch: pytest.MonkeyPatch) -> None:
    """A body's bytes are not synced before its name is made (D-2)."""

    def publish(fd: int, directory: int, id: str) -> None:  # noqa: A002
        os.link(f"/proc/self/fd/{fd}", id, dst_dir_fd=directory)

    patch.setattr(files, "publish", publish)


def names_without_sync(patch: pytest.MonkeyPatch) -> None:
    """The directory is not synced after a body got its name (D-2)."""

    def sync(self: Any) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    patch.setattr(syncs.DirectorySyncs, "sync", sync)


def remote_listed_before_the_snapshot(patch: pytest.MonkeyPatch) -> None:
    """What is pending is read after the remote's page (R-8)."""
    real = listing.pending_in

    class Afresh:
        """What is pending at the moment in which it is looked at."""

        def __init__(self, *arguments: Any) -> None:
            self.arguments = arguments

        def __getattr__(self, name: str) -> Any:
            reading = real(*self.arguments)
            try:
                while True:
                    reading.send(None)
            except StopIteration as read:
                return getattr(read.value, name)

    async def pending_in(*arguments: Any) -> Any:
        return Afresh(*arguments)

    patch.setattr(listing, "pending_in", pending_in)


def tombstone_ignored(patch: pytest.MonkeyPatch) -> None:
    """A pending delete hides nothing from reads (R-1)."""
    real = lookups.visible

    def visible(*arguments: Any) -> Any:
        found = real(*arguments)
        return None if found is not None and found.op == "delete" else found

    patch.setattr(lookups, "visible", visible)


def settled_on_head_alone(patch: pytest.MonkeyPatch) -> None:
    """An unknown put is taken for done where a HEAD shows its ETag (Q-3)."""

    async def put(context: send.Context, change: Change) -> Answer:
        if change.state == "in_doubt":
            with contextlib.suppress(S3Error):
                seen = await context.client.head_object(change.bucket, change.key)
                if seen.etag == change.etag:
                    return Answer(200, CIMultiDict({"ETag": f'"{change.etag}"'}))
        return await real(context, change)

    real = send.PUSHES["put"]
    patch.setitem(send.PUSHES, "put", put)


def pushing_forgotten_at_start(patch: pytest.MonkeyPatch) -> None:
    """A change that was being pushed stays so over a start (Q-3)."""
    patch.setattr(transitions, "recover", lambda db: db.execute("DELETE FROM change WHERE op = 'through'"))


def superseding_what_is_in_flight(patch: pytest.MonkeyPatch) -> None:
    """A newer write drops also an older one that is being pushed (Q-2)."""
    real = changes.enqueue

    def enqueue(db: Any, new: Any) -> Any:
        db.execute(
            """DELETE FROM change WHERE bucket = ? AND key = ? AND op <> 'through'
            AND state IN ('pushing', 'in_doubt')""",
            (new.bucket, new.key),
        )
        return real(db, new)

    patch.setattr(changes, "enqueue", enqueue)


def token_without_a_last_key(patch: pytest.MonkeyPatch) -> None:
    """A token does not say where the page ended (R-8)."""
    real = listings.encode_token
    patch.setattr(listings, "encode_token", lambda token: real(replace(token, last="")))


def barrier_skipped(patch: pytest.MonkeyPatch) -> None:
    """What depends on pending changes does not wait for them (R-3)."""

    async def barrier(*_: Any, **__: Any) -> None:
        pass

    patch.setattr(turns.Turns, "barrier", barrier)


def part_boundaries_changed(patch: pytest.MonkeyPatch) -> None:
    """An upload in parts is pushed as one part (Q-4)."""

    async def push(context: send.Context, change: Change) -> Answer:
        named = send.named(change)
        parts = context.assembly
        content = change_body.Context(parts.db, parts.bodies, parts.staging)
        metadata = {"n": change.members["x-amz-meta-n"]}
        begun = await context.client.ask("CreateMultipartUpload", {**named, "Metadata": metadata})
        upload = {**named, "UploadId": begun.result["UploadId"]}
        body = BytesBody(await read_all(open_change(content, change), 64 << 20))
        sent = await context.client.ask("UploadPart", {**upload, "PartNumber": 1}, body)
        document = {"Parts": [{"PartNumber": 1, "ETag": sent.result["ETag"]}]}
        made = await context.client.ask("CompleteMultipartUpload", {**upload, "MultipartUpload": document})
        return Answer(200, CIMultiDict({"ETag": made.result["ETag"]}), made.result)

    patch.setitem(send.PUSHES, "complete", push)


def digest_not_verified_again(patch: pytest.MonkeyPatch) -> None:
    """A body is pushed as it is on the disk (Q-5)."""

    def open_body(bodies: Bodies, change: Change) -> Body:
        return bodies.open(change.file, change.size) if change.file else BytesBody(change.inline or b"")

    patch.setattr(send, "open_body", open_body)


def success_by_status(patch: pytest.MonkeyPatch) -> None:
    """Whatever is below 300 is the store's confirmation (Q-22)."""
    real = answers.judge

    def judge(operation: str, method: str, status: int, *rest: Any) -> tuple[Meaning, str]:
        return (Meaning.DONE, "") if status < 300 else real(operation, method, status, *rest)

    patch.setattr(answers, "judge", judge)


def failure_by_status(patch: pytest.MonkeyPatch) -> None:
    """A 5xx refuses what was asked, so that nothing of it can arrive (Q-3a)."""
    real = answers.judge

    def judge(operation: str, method: str, status: int, *rest: Any) -> tuple[Meaning, str]:
        return (Meaning.REFUSED, "") if status >= 500 else real(operation, method, status, *rest)

    patch.setattr(answers, "judge", judge)


def hidden_retry(patch: pytest.MonkeyPatch) -> None:
    """A request whose connection is lost is sent again, and nobody hears of it (Q-3e)."""
    real = Judge._judged

    async def judged(self: Judge, call: Call) -> tuple[Reply, Meaning]:
        try:
            return await real(self, call)
        except Unavailable as error:
            if not error.sent or (call.body is not None and not call.body.replayable):
                raise
            return await real(self, call)

    patch.setattr(Judge, "_judged", judged)


def kept_back_behind_a_newer_change(patch: pytest.MonkeyPatch) -> None:
    """What ends held or parked is not superseded by what is behind it already (Q-9b)."""
    _without(patch, "truth_moved")


def kept_back_below_a_newer_change(patch: pytest.MonkeyPatch) -> None:
    """What is held or parked is not superseded by what comes (Q-9b)."""
    _without(patch, "truth_in")


def _without(patch: pytest.MonkeyPatch, trigger: str) -> None:
    patch.setattr(layer, "SCHEMA", replace(schema.SCHEMA, sql=f"{schema.SCHEMA.sql}\nDROP TRIGGER {trigger};"))
    # The queue would make anew what is missing, and there would be no mutant to see.
    patch.setattr(schema, "rules", tuple)


def superseded_tried_again(patch: pytest.MonkeyPatch) -> None:
    """What a person has tried again may be older than what was acknowledged since (Q-9b)."""
    real = transitions.unpark

    def unpark(db: Any, some: list[Change], now: float) -> dict[int, str]:
        db.executemany(
            "UPDATE change SET state = 'waiting', next_at = ? WHERE seq = ? AND state = 'superseded'",
            [(now, change.seq) for change in some],
        )
        return real(db, some, now)

    patch.setattr(transitions, "unpark", unpark)


def order_ignored(patch: pytest.MonkeyPatch) -> None:
    """What a change names is not waited for (Q-21)."""
    patch.setattr(order, "find", lambda *_: None)


def expectation_ignored(patch: pytest.MonkeyPatch) -> None:
    """A change takes the place of what its maker has not seen (Q-2b)."""
    patch.setattr(order, "check", lambda *_: True)


def conflicts_by_the_settings_alone(patch: pytest.MonkeyPatch) -> None:
    """What a change says of conflicts is not asked (Q-18b)."""
    real = changes.enqueue
    patch.setattr(changes, "enqueue", lambda db, new: real(db, replace(new, conflict="", always=False)))


def superseding_across_identities(patch: pytest.MonkeyPatch) -> None:
    """A newer write drops also what another identity has waiting (Q-2a)."""
    real = changes.enqueue

    def enqueue(db: Any, new: Any) -> Any:
        db.execute(
            """DELETE FROM change WHERE bucket = ? AND key = ? AND identity <> ? AND state = 'waiting'
            AND op IN ('put', 'delete', 'complete')""",
            (new.bucket, new.key, new.identity),
        )
        return real(db, new)

    patch.setattr(changes, "enqueue", enqueue)


def pushed_by_the_gateways_own_keys(patch: pytest.MonkeyPatch) -> None:
    """A put is pushed by other keys than those of who wrote it (A-8)."""
    real = send.PUSHES["put"]

    async def put(context: send.Context, change: Change) -> Answer:
        return await real(context, change._replace(identity=""))

    patch.setitem(send.PUSHES, "put", put)


def anothers_object_shown(patch: pytest.MonkeyPatch) -> None:
    """What is pending answers the reads of every identity (A-8a)."""
    real = reads.get

    async def get(context: reads.Context, call: Call) -> Reply:
        change = lookups.visible(context.db, call.bucket, call.key)
        return await real(context, call if change is None else replace(call, identity=change.identity))

    patch.setattr(reads, "get", get)


def filter_ignored(patch: pytest.MonkeyPatch) -> None:
    """What the push filter does not take in leaves nevertheless (F-4a)."""
    patch.setattr(holds, "filtered", lambda *_: "")


def pushed_unjudged(patch: pytest.MonkeyPatch) -> None:
    """What is queued leaves before the policy has said anything of it (F-3a)."""
    patch.setattr(verdicts, "first", lambda *_: verdicts.GIVEN)


def no_decision_lets_leave(patch: pytest.MonkeyPatch) -> None:
    """Where the policy comes to no decision a change leaves, though the settings say that it is held (F-3b)."""
    real = verdicts.give

    def give(db: Any, asked: Any, answer: Any, *, is_open: bool, now: float) -> bool:
        return real(db, asked, answer, is_open=True, now=now)

    patch.setattr(verdicts, "give", give)


MUTANTS = (
    filter_ignored,
    pushed_unjudged,
    no_decision_lets_leave,
    order_ignored,
    expectation_ignored,
    conflicts_by_the_settings_alone,
    bodies_without_sync,
    names_without_sync,
    remote_listed_before_the_snapshot,
    tombstone_ignored,
    settled_on_head_alone,
    pushing_forgotten_at_start,
    superseding_what_is_in_flight,
    token_without_a_last_key,
    barrier_skipped,
    part_boundaries_changed,
    digest_not_verified_again,
    success_by_status,
    superseded_tried_again,
    failure_by_status,
    hidden_retry,
    kept_back_behind_a_newer_change,
    kept_back_below_a_newer_change,
)
AMONG_IDENTITIES = (superseding_across_identities, pushed_by_the_gateways_own_keys, anothers_object_shown)
"""Mutants that show only where two identities take turns."""
