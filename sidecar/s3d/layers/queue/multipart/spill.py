"""Uploads that go to the remote while they are still open (SEMANTICS Q-16): too much is staged, or only it can judge.

A spilled upload keeps its id, its numbers and its boundaries; calls that name it are sent on under the id that the
remote gave. Its parts stay in the table without their bytes, so that lists and Complete know them. It never comes back.
"""

import functools
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from s3d.api import S3, BytesBody, Call, Reply
from s3d.client import document_of, error_of
from s3d.errors import Unavailable
from s3d.layers.health import Health
from s3d.layers.queue import consent, withheld
from s3d.layers.queue.consent import Consent
from s3d.layers.queue.multipart import assembly
from s3d.layers.queue.rows import states, uploads
from s3d.layers.queue.rows.states import UploadState
from s3d.layers.queue.rows.uploads import Upload
from s3d.layers.queue.rules.upload_errors import no_such_upload
from s3d.layers.queue.staging import Staging
from s3d.settings import WriteQueue
from s3d.store.db import Database


@dataclass(frozen=True, slots=True)
class Context:
    """What an upload spills with."""

    settings: WriteQueue
    db: Database
    inner: S3
    health: Health
    staging: Staging
    assembly: assembly.Context
    consent: Consent


async def relieve(context: Context) -> None:
    """Let the largest open uploads spill while they hold more than half of the queue; what a rule keeps back stays."""
    most = context.settings.max_size // 2
    for largest in uploads.largest_open(context.db) if uploads.staying(context.db) > most else ():
        if withheld.rule_of_upload(context.db, largest) or await context.consent.refusal([consent.of_upload(largest)]):
            continue
        await context.db.write(functools.partial(uploads.spill, upload_id=largest.id))
        context.staging.wake()
        if uploads.staying(context.db) <= most:
            return


async def spill(context: Context, upload_id: str) -> Upload:
    """Move an upload to the remote; the upload, when all of its parts are there.

    Raises S3Error: NoSuchUpload where it is not open any more, Unavailable where the remote is away.
    """
    async with context.staging.alone(upload_id):
        await context.db.write(lambda db: uploads.spill(db, upload_id))
        while True:
            upload = uploads.find(context.db, upload_id)
            if upload is None or upload.state not in states.OPEN:
                raise no_such_upload(upload_id)
            if upload.state == UploadState.SPILLED:
                return upload
            refuse_away(context)
            withheld.stop_upload(context.db, upload)
            upload = await counterpart(context, upload)
            await assembly.send(context.assembly, upload, drop=True)
            await context.db.write(lambda db: uploads.spilled(db, upload_id))


async def counterpart(context: Context, upload: Upload) -> Upload:
    """An upload with the remote's id, which it gets where it has none."""
    async with context.staging.alone(f"{upload.id} begins"):
        await context.consent.check_upload(upload)
        found = uploads.find(context.db, upload.id)
        if found is None or found.state not in states.OPEN:
            raise no_such_upload(upload.id)
        return await assembly.begin(context.assembly, found)


def refuse_away(context: Context) -> None:
    """Raise Unavailable while the remote is away."""
    if context.health.away:
        raise Unavailable(f"This upload goes to the remote, which is away: {context.health.reason}")


def translated(call: Call, upload: Upload) -> Call:
    """A call that names an upload, as the remote knows it."""
    wire = call.wire
    query = "&".join(
        f"uploadId={quote(upload.remote or '', safe='-_.~')}" if unquote(part.partition("=")[0]) == "uploadId" else part
        for part in wire.query.split("&")
    )
    return replace(call, params={**call.params, "UploadId": upload.remote}, wire=replace(wire, query=query))


async def onward(context: Context, upload: Upload, call: Call) -> Reply:
    """Send a call on to the remote's upload."""
    refuse_away(context)
    upload = await counterpart(context, upload)
    call = translated(call, upload)
    reply = await context.inner(call)
    if reply.status == 404:
        document = await document_of(call, reply)
        reply.body = BytesBody(document)
        if error_of(reply, document).code == "NoSuchUpload":
            raise no_such_upload(upload.id)
    return reply
