"""Uploads that go to the remote while they are still open (SEMANTICS Q-16): too much is staged, or only it can judge.

A spilled upload keeps its id, its numbers and its boundaries; calls that name it are sent on under the id that the
remote gave. Its parts stay in the table without their bytes, so that lists and Complete know them. It never comes back.
"""

import functools
from dataclasses import replace
from urllib.parse import quote, unquote

from s3d.api import BytesBody, Call, Reply
from s3d.client import document_of, error_of
from s3d.errors import Unavailable
from s3d.layers.queue.multipart import assembly
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import holds, uploads
from s3d.layers.queue.rows.uploads import Upload
from s3d.layers.queue.serve import withheld


async def relieve(parts: Parts) -> None:
    """Let the largest open uploads spill while they hold more than half of the queue; what a rule keeps back stays."""
    most = parts.settings.write_queue.max_size // 2
    for largest in uploads.largest_open(parts.db) if uploads.staying(parts.db) > most else ():
        if holds.rule_now(parts.db, largest.bucket, "complete", largest.members):
            continue
        await parts.db.write(functools.partial(uploads.spill, upload_id=largest.id))
        parts.staging.wake()
        if uploads.staying(parts.db) <= most:
            return


async def spill(parts: Parts, upload_id: str) -> Upload:
    """Move an upload to the remote; the upload, when all of its parts are there.

    Raises S3Error: NoSuchUpload where it is not open any more, Unavailable where the remote is away.
    """
    async with parts.staging.alone(upload_id):
        await parts.db.write(lambda db: uploads.spill(db, upload_id))
        while True:
            upload = uploads.find(parts.db, upload_id)
            if upload is None or upload.state not in uploads.OPEN:
                raise uploads.no_such_upload(upload_id)
            if upload.state == "spilled":
                return upload
            refuse_away(parts)
            withheld.refuse(parts, upload.bucket, "it spills", upload.members)
            upload = await counterpart(parts, upload)
            await assembly.send(parts, upload, drop=True)
            await parts.db.write(lambda db: uploads.spilled(db, upload_id))


async def counterpart(parts: Parts, upload: Upload) -> Upload:
    """An upload with the remote's id, which it gets where it has none."""
    async with parts.staging.alone(f"{upload.id} begins"):
        found = uploads.find(parts.db, upload.id)
        if found is None or found.state not in uploads.OPEN:
            raise uploads.no_such_upload(upload.id)
        return await assembly.begin(parts, found)


def refuse_away(parts: Parts) -> None:
    """Raise Unavailable while the remote is away."""
    if parts.health.away:
        raise Unavailable(f"This upload goes to the remote, which is away: {parts.health.reason}")


def translated(call: Call, upload: Upload) -> Call:
    """A call that names an upload, as the remote knows it."""
    wire = call.wire
    query = "&".join(
        f"uploadId={quote(upload.remote or '', safe='-_.~')}" if unquote(part.partition("=")[0]) == "uploadId" else part
        for part in wire.query.split("&")
    )
    return replace(call, params={**call.params, "UploadId": upload.remote}, wire=replace(wire, query=query))


async def onward(parts: Parts, upload: Upload, call: Call) -> Reply:
    """Send a call on to the remote's upload."""
    refuse_away(parts)
    upload = await counterpart(parts, upload)
    call = translated(call, upload)
    reply = await parts.inner(call)
    if reply.status == 404:
        document = await document_of(call, reply)
        reply.body = BytesBody(document)
        if error_of(reply, document).code == "NoSuchUpload":
            raise uploads.no_such_upload(upload.id)
    return reply
