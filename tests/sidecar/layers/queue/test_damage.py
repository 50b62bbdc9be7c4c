"""Rows that cannot be read (SEMANTICS D-4, D-14): a local dir of which one row is damaged.

Each kind of damage is done to one of three pending changes. Whatever it is, the queue opens and goes on, the others are
delivered, what cannot be delivered is shown, and nothing is lost in silence.
"""

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest

from s3d.api import read_all
from s3d.errors import S3Error
from s3d.layers.queue.push import pusher
from s3d.layers.queue.rows import schema
from tests.callers import ask
from tests.clients import code_of
from tests.daemons import Daemon, drained, eventually
from tests.fakes.fake import Fake
from tests.queues import BUCKET, at_work, opened, until
from tests.relays import Relayed
from tests.remotes import Remote

DEEP = "[" * 100_000
DAMAGES: dict[str, tuple[str, Any]] = {
    "members are no JSON": ("members", "{"),
    "members are not UTF-8": ("members = CAST(? AS TEXT)", b'{"a": "\xff"}'),
    "members are a list": ("members", "[1]"),
    "members are nested": ("members", DEEP),
    "members are of numbers": ("members", '{"x-amz-meta-a": 1}'),
    "members hold a line end": ("members", '{"x-amz-meta-a": "a\\r\\nb: c"}'),
    "members hold a name that is none": ("members", '{"": "a"}'),
    "members are bytes": ("members", b"\xff"),
    "late_writes is no JSON": ("late_writes", "{"),
    "late_writes is of another shape": ("late_writes", '[["etag"], 5]'),
    "late_writes is nested": ("late_writes", DEEP),
    "late_writes is not UTF-8": ("late_writes = CAST(? AS TEXT)", b"\xff"),
    "the key is not UTF-8": ("key = CAST(? AS TEXT)", b"k\xff"),
    "the key is bytes": ("key", b"b"),
    "the key is empty": ("key", ""),
    "the bucket is not UTF-8": ("bucket = CAST(? AS TEXT)", b"b\xff"),
    "the bucket is bytes": ("bucket", b"bucket"),
    "the bucket is empty": ("bucket", ""),
    "the bucket is a path": ("bucket", "a/b"),
    "the identity is not UTF-8": ("identity = CAST(? AS TEXT)", b"\xff"),
    "the identity is bytes": ("identity", b"someone"),
    "op is unknown": ("op", "move"),
    "op is not UTF-8": ("op = CAST(? AS TEXT)", b"\xff"),
    "op is a change of tags without tags": ("op", "tag"),
    "op is a completed upload without one": ("op", "complete"),
    "state is unknown": ("state", "waits"),
    "state is not UTF-8": ("state = CAST(? AS TEXT)", b"\xff"),
    "state is bytes": ("state", b"waiting"),
    "size is a text": ("size", "large"),
    "size is not UTF-8": ("size = CAST(? AS TEXT)", b"\xff"),
    "size is negative": ("size", -1),
    "size is infinite": ("size", float("inf")),
    "next_at is a text": ("next_at", "soon"),
    "next_at is infinite": ("next_at", float("inf")),
    "next_at is negative": ("next_at", -1e300),
    "next_at is bytes": ("next_at", b"\0"),
    "acked_at is a text": ("acked_at", "yesterday"),
    "acked_at is infinite": ("acked_at", float("inf")),
    "attempts is a text": ("attempts", "many"),
    "attempts is negative": ("attempts", -5),
    "refusals is a text": ("refusals", "none"),
    "ordered is a text": ("ordered", "yes"),
    "since is a text": ("since", "ever"),
    "code is not UTF-8": ("code = CAST(? AS TEXT)", b"\xff"),
    "rule is bytes": ("rule = CAST(? AS TEXT)", b"\xff"),
    "removes is no JSON": ("removes", "{"),
    "removes is of another shape": ("removes", '{"members": []}'),
    "the etag is not hex": ("etag", "zz"),
    "the etag is not UTF-8": ("etag = CAST(? AS TEXT)", b"\xff"),
    "the file is no id": ("file", "../../queue.db"),
    "the file is not UTF-8": ("file = CAST(? AS TEXT)", b"\xff"),
    "the file is not there": ("file", "0123456789abcdef-00000000"),
    "the upload is not there": ("op = 'complete', upload", "nowhere"),
    "the body is a text": ("inline", "another"),
    "the body is a number": ("inline", 7),
    "the body is missing": ("inline", None),
}


def damage(path: Path, kind: str, key: str) -> int:
    """Damage the row of a key; its number."""
    column, value = DAMAGES[kind]
    db = apsw.Connection(str(path))
    # Else the log goes with the last connection, and s3d takes that for a loss.
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    ((seq,),) = db.execute("SELECT seq FROM change WHERE key = ?", (key,)).fetchall()
    db.execute(f"UPDATE change SET {column if '?' in column else f'{column} = ?'} WHERE seq = ?", (value, seq))
    db.close()
    return int(str(seq))


@pytest.fixture
async def remote_of_puts(tmp_path: Path) -> Fake:
    """A remote with the bucket, and a local dir in which the puts of a, b and c wait for it."""
    remote = Fake()
    await ask(remote, "CreateBucket", {"Bucket": BUCKET}, typed=True)
    async with opened(tmp_path, remote) as queue:
        for key in ("a", "b", "c"):
            named = {"Bucket": BUCKET, "Key": key, "Metadata": {"a": "b"}}
            await ask(queue, "PutObject", named, b"body of " + key.encode())
        assert queue.states()["waiting"] == 3
    return remote


@pytest.mark.semantics("D-4", "D-14")
@pytest.mark.parametrize("kind", DAMAGES)
async def test_a_row_that_cannot_be_read_is_quarantined_and_holds_up_nothing(
    tmp_path: Path, remote_of_puts: Fake, kind: str
) -> None:
    remote = remote_of_puts
    seq = damage(tmp_path / "queue" / "queue.db", kind, "b")
    async with at_work(tmp_path, remote) as queue:
        await until(lambda: queue.pending()["changes"] == 1 and queue.states()["quarantined"] == 1)
        for key in ("a", "c"):
            for s3 in (remote, queue):
                assert (await ask(s3, "GetObject", {"Bucket": BUCKET, "Key": key})).data == b"body of " + key.encode()
        with pytest.raises(S3Error, match="NoSuchKey"):
            await ask(remote, "GetObject", {"Bucket": BUCKET, "Key": "b"})
        (shown,) = queue.kept("", "", None, 0)
        assert (shown["seq"], shown["state"]) == (seq, "quarantined")
        assert shown["code"] in ("CorruptRow", "CorruptBody")
        assert shown["reason"]
        if shown["bucket"]:
            # What can be read of it says that another identity has written it: whoever reads waits for that in vain.
            why = "is quarantined" if kind == "the identity is bytes" else "damaged on the local dir"
            with pytest.raises(S3Error, match=why):
                await ask(queue, "GetObject", {"Bucket": BUCKET, "Key": "b"})
        await ask(queue, "ListObjectsV2", {"Bucket": BUCKET})
        assert (await queue.retry("", "", None))["changes"] == 0
        assert (await queue.flush("", "", None))["changes"] == 0
        if not any(word in kind for word in ("body", "file", "upload")):
            assert await read_all(queue.body(seq), 100) == b"body of b"
        await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "b", "Metadata": {"a": "b"}}, b"new")
        await until(lambda: queue.pending()["changes"] == 1)
        assert (await ask(remote, "GetObject", {"Bucket": BUCKET, "Key": "b"})).data == b"new"
        assert (await queue.discard("", "", None))["changes"] == 1
        assert queue.pending()["changes"] == queue.pending()["bytes"] == 0


def assign(path: Path, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """Damage a local dir by statements."""
    db = apsw.Connection(str(path / "queue" / "queue.db"))
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    for statement, values in statements:
        db.execute(statement, values)
    db.close()


KNOWLEDGE = {
    "a lane": ("INSERT INTO lane VALUES ('bucket', '', 'shut', 'x', ?, '', -1, 'x', 'x', '[')", b"\xff"),
    "a lane of nobody": (
        "INSERT INTO lane VALUES (?, CAST(x'ff' AS TEXT), 'paused', 1, '', '', 1, 9, NULL, '[]')",
        b"b",
    ),
    "a lane that is paused for ever": (
        "INSERT INTO lane VALUES ('bucket', '', 'paused', 1, '', '', 1, ?, NULL, '[]')",
        float("inf"),
    ),
    "kinds of a lane": ("INSERT INTO lane VALUES ('bucket', '', 'paused', 1, '', '', 1, 1, NULL, ?)", "[" * 100_000),
    "a hold": ("INSERT OR REPLACE INTO hold VALUES ('bucket', 'false', ?)", "never"),
    "a hold of no bucket": ("INSERT INTO hold VALUES (CAST(? AS TEXT), 'false', 1)", b"\xff"),
    "a write profile": ("INSERT OR REPLACE INTO write_profile VALUES ('bucket', '', 'PutObject', '', ?, 1)", b"\xff"),
    "a bucket": ("INSERT OR REPLACE INTO bucket VALUES ('bucket', 'x', CAST(? AS TEXT), '')", b"\xff"),
    "what is honoured": ("INSERT INTO meta VALUES ('honoured', CAST(? AS TEXT))", b"\xff"),
    "whose changes these are": ("UPDATE meta SET value = CAST(? AS TEXT) WHERE name = 'remote'", b"\xff"),
    "the label": ("UPDATE meta SET value = CAST(? AS TEXT) WHERE name = 'bodies'", b"\xff"),
    "garbage": ("INSERT INTO garbage VALUES (CAST(? AS TEXT), '')", b"\xff"),
    "garbage that is elsewhere": ("INSERT INTO garbage VALUES (?, '')", "../queue.db"),
    "an orphan": ("INSERT INTO orphan_upload VALUES ('bucket', CAST(? AS TEXT), 'k', '')", b"\xff"),
    "a settled change": (
        """INSERT INTO change (bucket, key, op, state, acked_at, next_at, late_writes)
        VALUES ('bucket', 'b', 'put', 'settled', 1, 1, ?)""",
        "{",
    ),
    "the turn of a request": (
        "INSERT INTO change (bucket, key, op, state, acked_at, next_at) VALUES ('bucket', 'x', 'through', ?, 1, 1)",
        "gone",
    ),
    "an attempt under way": (
        """INSERT INTO change (bucket, key, op, state, acked_at, next_at, late_writes, attempt_at)
        VALUES ('bucket', 'x', 'through', 'pushing', 'x', 1, ?, 'x')""",
        "[",
    ),
    "a finished upload": (
        """INSERT INTO upload (id, bucket, key, state, began_at, touched_at, answer)
        VALUES ('u', 'b', 'k', ?, 1, 1, '[')""",
        "finished",
    ),
}


RULES = {
    "counts that are bytes": "UPDATE tally SET bytes = x'ff'",
    "counts that are no numbers": "UPDATE tally SET changes = 'many' WHERE state = 'waiting'",
    "counts below nothing": "UPDATE tally SET changes = -3 WHERE state = 'waiting'",
    "counts of nothing": "DELETE FROM tally",
    "the index of attempts": "DROP INDEX change_claim",
    "the index of what is due": "DROP INDEX change_due",
    "the count of what comes": "DROP TRIGGER tally_in",
    "the count of what moves": "DROP TRIGGER tally_move",
    "the rule of the truth": "DROP TRIGGER truth_in",
}
STOPS = {"a view": "DROP VIEW spent"}
"""No change can be written without it, so that it is missed at once, and made anew at the next start or look."""


@pytest.mark.semantics("D-14")
@pytest.mark.parametrize("running", [False, True], ids=["before the start", "under a running queue"])
@pytest.mark.parametrize("kind", RULES)
async def test_the_rules_that_are_in_the_tables_are_made_anew(
    tmp_path: Path, remote_of_puts: Fake, kind: str, running: bool
) -> None:
    statement = (RULES[kind], ())
    if not running:
        assign(tmp_path, statement)
    async with at_work(tmp_path, remote_of_puts) as queue:
        if running:
            assign(tmp_path, statement)
            await ask(queue, "DeleteObject", {"Bucket": BUCKET, "Key": "none"})
            await until(lambda: rules_of(tmp_path) == {name for name, _ in schema.rules()})
        await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "new"}, b"x")
        await until(lambda: queue.pending()["changes"] == 0)
        assert set(queue.states().values()) == {0}
    assert rules_of(tmp_path) == {name for name, _ in schema.rules()}
    for key in ("a", "b", "c"):
        found = await ask(remote_of_puts, "GetObject", {"Bucket": BUCKET, "Key": key})
        assert found.data == b"body of " + key.encode()


@pytest.mark.semantics("D-14")
@pytest.mark.parametrize("kind", STOPS)
async def test_a_rule_without_which_nothing_is_written_is_made_anew_at_the_start(
    tmp_path: Path, remote_of_puts: Fake, kind: str
) -> None:
    assign(tmp_path, (STOPS[kind], ()))
    async with at_work(tmp_path, remote_of_puts) as queue:
        await until(lambda: queue.pending()["changes"] == 0)
    assert rules_of(tmp_path) == {name for name, _ in schema.rules()}


def rules_of(local: Path) -> set[str]:
    """Names of indexes, views and triggers."""
    db = apsw.Connection(str(local / "queue" / "queue.db"))
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    try:
        return {
            str(name)
            for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL")
        }
    finally:
        db.close()


@pytest.mark.semantics("D-14", "D-14a")
@pytest.mark.parametrize("kind", KNOWLEDGE)
async def test_what_is_only_known_and_cannot_be_read_is_forgotten(
    tmp_path: Path, remote_of_puts: Fake, kind: str
) -> None:
    remote = remote_of_puts
    statement, value = KNOWLEDGE[kind]
    assign(tmp_path, (statement, (value,)))
    async with at_work(tmp_path, remote) as queue:
        await until(lambda: queue.pending()["changes"] == 0)
        await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "new"}, b"x")
        await until(lambda: queue.pending()["changes"] == 0)
    for key in ("a", "b", "c"):
        assert (await ask(remote, "GetObject", {"Bucket": BUCKET, "Key": key})).data == b"body of " + key.encode()
    assert (tmp_path / "queue" / "queue.db").exists()


ROWS_OF_UPLOADS = {
    "members": ("UPDATE upload SET members = ?", "["),
    "members, nested": ("UPDATE upload SET members = ?", "[" * 100_000),
    "key": ("UPDATE upload SET key = CAST(? AS TEXT)", b"\xff"),
    "id": ("UPDATE upload SET id = CAST(? AS TEXT)", b"\xff"),
    "state": ("UPDATE upload SET state = ?", "opened"),
    "touched_at": ("UPDATE upload SET touched_at = ?", "long ago"),
    "bytes": ("UPDATE upload SET bytes = ?", "many"),
    "answer": ("UPDATE upload SET answer = ?", "[1]"),
    "sums of a part": ("UPDATE part SET sums = ? WHERE number = 2", "["),
    "size of a part": ("UPDATE part SET size = ? WHERE number = 2", "large"),
    "etag of a part": ("UPDATE part SET etag = CAST(? AS TEXT) WHERE number = 2", b"\xff"),
    "file of a part": ("UPDATE part SET file = CAST(? AS TEXT) WHERE number = 2", b"\xff"),
    "time of a part": ("UPDATE part SET at = ? WHERE number = 2", "x"),
}
PARTS = {1: b"1" * (5 << 20), 2: b"2"}


@pytest.mark.semantics("D-4", "D-14")
@pytest.mark.parametrize("complete", [False, True], ids=["open", "complete"])
@pytest.mark.parametrize("kind", ROWS_OF_UPLOADS)
async def test_an_upload_that_cannot_be_read_holds_up_nothing(
    tmp_path: Path, remote_of_puts: Fake, kind: str, complete: bool
) -> None:
    remote, named = remote_of_puts, {"Bucket": BUCKET, "Key": "big"}
    async with opened(tmp_path, remote) as queue:
        upload = (await ask(queue, "CreateMultipartUpload", named)).result["UploadId"]
        named["UploadId"] = upload
        listed = [
            {"PartNumber": number, "ETag": (await ask(queue, "UploadPart", {**named, "PartNumber": number}, data)).etag}
            for number, data in PARTS.items()
        ]
        if complete:
            await ask(queue, "CompleteMultipartUpload", {**named, "MultipartUpload": {"Parts": listed}})
    statement, value = ROWS_OF_UPLOADS[kind]
    assign(tmp_path, (statement, (value,)))
    async with at_work(tmp_path, remote) as queue:
        await until(lambda: queue.pending()["changes"] == complete and queue.states()["quarantined"] == complete)
        for key in ("a", "b", "c"):
            assert (await ask(remote, "GetObject", {"Bucket": BUCKET, "Key": key})).data == b"body of " + key.encode()
        with pytest.raises(S3Error):
            await ask(queue, "ListParts", named)
        await ask(queue, "ListMultipartUploads", {"Bucket": BUCKET})
        bodies = [path for path in (tmp_path / "queue" / "bodies").iterdir() if path.name != "quarantine"]
        assert len(bodies) == 1, "what was acknowledged of the upload stays"
        if complete:
            with pytest.raises(S3Error, match="damaged on the local dir"):
                await ask(queue, "GetObject", {"Bucket": BUCKET, "Key": "big"})
            assert (await queue.discard("", "", None))["changes"] == 1


@pytest.mark.semantics("D-14")
@pytest.mark.parametrize("kind", DAMAGES)
async def test_a_row_that_is_damaged_under_a_running_queue_is_found(
    tmp_path: Path, remote_of_puts: Fake, kind: str
) -> None:
    remote = remote_of_puts
    async with opened(tmp_path, remote) as queue, asyncio.TaskGroup() as tasks:
        await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "d"}, b"d")
        damage(tmp_path / "queue" / "queue.db", kind, "b")
        running = [tasks.create_task(one) for one in (queue.pusher.run(), queue.look_after_rows())]
        await until(lambda: queue.pending()["changes"] == 1 and queue.states()["quarantined"] == 1)
        assert queue.pending()["bytes"] >= 0
        for task in running:
            task.cancel()
    for key in ("a", "c", "d"):
        await ask(remote, "GetObject", {"Bucket": BUCKET, "Key": key})


@pytest.mark.semantics("D-4", "D-14")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_the_daemon_survives_every_kind_of_damage_and_says_what_to_do(
    away: tuple[Daemon, Relayed, str], remote: Remote, tmp_path: Path
) -> None:
    daemon, relayed, bucket = away
    s3 = daemon.client(retries={"total_max_attempts": 1})
    for number, _ in enumerate(DAMAGES):
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=b"damaged")
    for key in ("a", "b", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    daemon.kill()
    # Those that become another key's come last: the others are found by their key.
    for number, kind in enumerate(DAMAGES):
        damage(daemon.local_dir / "queue" / "queue.db", kind, f"k{number}")
    daemon.start()
    relayed.set(mode="pass")
    eventually(lambda: daemon.status()["pending"]["changes"] == len(DAMAGES))
    eventually(lambda: daemon.status()["states"]["quarantined"] == len(DAMAGES))
    for key in ("a", "b", "c"):
        assert remote.client().get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert code_of(s3.get_object, Bucket=bucket, Key="k0") == "ServiceUnavailable"
    s3.list_objects_v2(Bucket=bucket)
    listed = daemon.cli("queue", "list")
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == len(DAMAGES)
    assert daemon.output().count("is quarantined: the row cannot be read") >= len(DAMAGES) - 8
    exported = daemon.cli("queue", "export", "--seq", "1", "-o", str(tmp_path))
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "change-1.body").read_bytes() == b"damaged"
    assert daemon.cli("queue", "discard", "--all", "--yes").returncode == 0
    eventually(lambda: drained(daemon))


@pytest.mark.semantics("D-14", "D-14a")
@pytest.mark.parametrize(
    "kind", ["a lane", "a lane of nobody", "kinds of a lane", "a hold of no bucket", "a settled change"]
)
async def test_knowledge_that_is_damaged_under_a_running_queue_ends_nothing(
    tmp_path: Path, remote_of_puts: Fake, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # A lane that cannot be read is mended by the next look at all of them.
    monkeypatch.setattr(pusher, "IDLE_INTERVAL", 0.1)
    remote = remote_of_puts
    statement, value = KNOWLEDGE[kind]
    async with at_work(tmp_path, remote) as queue:
        await until(lambda: queue.pending()["changes"] == 0)
        assign(tmp_path, (statement, (value,)))
        for number in range(3):
            await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": f"new{number}"}, b"x")
            await until(lambda: queue.pending()["changes"] == 0)
            queue.lanes()
