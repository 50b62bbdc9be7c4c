"""A local dir of the version before, with something in every state, goes on under this one (SEMANTICS D-9)."""

import hashlib
import json
from pathlib import Path

import apsw
import pytest

from s3d.layers.queue import Queue
from s3d.layers.queue.rows import garbage, late_writes, uploads
from tests.callers import ask
from tests.fakes.fake import Fake
from tests.queues import BUCKET, ENDPOINT, at_work, until

BODY = b"x" * 20_000
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
STATES = ("waiting", "pushing", "unknown", "held", "parked", "superseded", "quarantined", "settled")
HOLD = '{"x-amz-tagging": "s3d.upload=false"}'
DELIVERED = ("waiting", "pushing", "unknown")
"""What is pushed, since no person has to decide."""


def body_of(queue: Path, number: int) -> str:
    """A body's file, as an older run of s3d has named it."""
    name = f"{'0' * 16}-{number:08x}"
    (queue / "bodies" / name).write_bytes(BODY)
    return name


def left_behind(directory: Path) -> None:
    """A queue of version 4 with a change and an upload in each state."""
    queue = directory / "queue"
    (queue / "bodies").mkdir(parents=True)
    db = apsw.Connection(str(queue / "queue.db"))
    db.execute((Path(__file__).parent / "rows" / "version_4.sql").read_text())
    db.execute("INSERT INTO meta VALUES ('remote', ?)", (ENDPOINT,))
    for number, state in enumerate(STATES):
        late = [["lost", 1.0]] if state in ("unknown", "settled") else []
        for key, file, inline in ((f"{state} file", body_of(queue, number), None), (f"{state} inline", None, BODY)):
            db.execute(
                """INSERT INTO change (bucket, key, op, state, members, size, etag, acked_at, next_at, queued_at, file,
                inline, former, rule, code) VALUES (?, ?, 'put', ?, ?, ?, ?, 1, 1e12, 1, ?, ?, ?, ?, ?)""",
                (
                    *(BUCKET, key, state, HOLD if state == "held" else "{}", len(BODY), MD5, file, inline),
                    *(json.dumps(late), "a tag" if state == "held" else ""),
                    "CorruptBody" if state == "quarantined" else "",
                ),
            )
    turn = "INSERT INTO change (bucket, key, op, state, acked_at, next_at) VALUES (?, ?, 'through', ?, 1, 1)"
    db.execute(turn, (BUCKET, "turn that waited", "waiting"))
    db.execute(turn, (BUCKET, "turn under way", "pushing"))
    # Tags that wait behind a put on its way become part of what is sent.
    db.execute(
        """INSERT INTO change (bucket, key, op, state, members, acked_at, next_at)
        VALUES (?, 'unknown file', 'tag', 'waiting', '{"x-amz-tagging": "a=b"}', 1, 1)""",
        (BUCKET,),
    )
    for number, state in enumerate(("open", "complete", "doomed", "finished"), start=100):
        db.execute(
            "INSERT INTO upload (id, bucket, key, state, began_at, touched_at) VALUES (?, ?, ?, ?, 1, 1e11)",
            (state, BUCKET, f"upload {state}", state),
        )
        if state in ("open", "complete"):
            db.execute(
                "INSERT INTO part (upload, number, size, etag, at, file) VALUES (?, 1, ?, ?, 1, ?)",
                (state, len(BODY), MD5, body_of(queue, number)),
            )
    db.execute(
        """INSERT INTO change (bucket, key, op, state, size, etag, acked_at, next_at, upload)
        VALUES (?, 'upload complete', 'complete', 'waiting', ?, ?, 1, 1, 'complete')""",
        (BUCKET, len(BODY), f"{hashlib.md5(bytes.fromhex(MD5), usedforsecurity=False).hexdigest()}-1"),
    )
    db.execute("INSERT INTO litter VALUES (?, '')", (body_of(queue, 200),))
    db.execute("PRAGMA user_version = 4")
    db.close()


def states(queue: Queue) -> dict[str, int]:
    return {state: count for state, count in queue.states().items() if count}


@pytest.mark.semantics("D-9")
async def test_a_local_dir_of_the_version_before_is_taken_over_whatever_state_its_changes_are_in(
    tmp_path: Path,
) -> None:
    left_behind(tmp_path)
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    async with at_work(tmp_path, fake) as queue:
        context = queue._context
        await until(lambda: not any(queue.states()[state] for state in ("pushing", "in_doubt")))
        await until(lambda: "upload complete" in fake.buckets[BUCKET].keys)
        kept = {"held": 2, "parked": 2, "superseded": 2, "quarantined": 2}
        await until(lambda: states(queue) == kept)
        delivered = {key: fake.buckets[BUCKET].current(key) for key in fake.buckets[BUCKET].keys}
        expected = {f"{state} {place}" for state in DELIVERED for place in ("file", "inline")} | {"upload complete"}
        assert set(delivered) == expected
        assert {version.data for version in delivered.values() if version} == {BODY}
        # What was delivered before stays for a while, and so does what a turn may have sent.
        assert late_writes.kept_since(context.db) is not None
        found = uploads.find(context.db, "open")
        assert found is not None
        assert (found.state, found.parts) == ("open", 1)
        await until(lambda: garbage.found(context.db) == [])
        # The files of what is kept, and of the open upload, are there; those of what is delivered are not.
        left = {path.name for path in (tmp_path / "queue" / "bodies").iterdir() if path.is_file()}
        numbers = [STATES.index(state) for state in STATES if state not in ("waiting", "pushing")]
        assert {f"{'0' * 16}-{number:08x}" for number in numbers if STATES[number] != "unknown"} <= left
        assert not {f"{'0' * 16}-{number:08x}" for number in (0, 1, 200)} & left
