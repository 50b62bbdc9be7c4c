"""What parts of s3d ask for their own writes: what they expect, and what goes first.

The queue has all its tasks, in front of a store in memory behind faults; the store honours If-Match on deletes, or not.
"""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.api import Call, Reply, Source, Terms
from s3d.cli.queue import print_change
from s3d.cli.status import object_rows
from s3d.client import Client
from s3d.errors import S3Error
from s3d.feed import Event, Feed, Why
from s3d.layers.queue import Queue
from s3d.layers.queue.remote_facts.seen_etags import SeenEtags
from tests.callers import ask, door_call
from tests.clients import raw
from tests.daemons import StartDaemon, drained, eventually
from tests.fakes.fake import Fake
from tests.queues import BUCKET, at_work, opened, until
from tests.remotes import Remote
from tests.sidecar.layers.queue.terms import (
    ALWAYS,
    A,
    B,
    C,
    Ignoring,
    Unable,
    Watched,
    content,
    copy,
    delete,
    delivered,
    put,
    watched,
)


@pytest.fixture(params=["honours", "ignores"])
async def store(request: pytest.FixtureRequest) -> Watched:
    return await watched(request.param)


@pytest.fixture
async def queue(tmp_path: Path, store: Watched) -> AsyncIterator[Queue]:
    async with at_work(tmp_path, store) as queue:
        yield queue


@pytest.mark.semantics("Q-2b")
async def test_a_write_that_expects_something_else_is_refused_and_takes_no_place(tmp_path: Path) -> None:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    async with opened(tmp_path, fake) as queue:
        await put(queue, "k", b"a")
        for expected in ("", B):
            with pytest.raises(S3Error) as refused:
                await put(queue, "k", b"b" * 70_000, Terms(expects=expected))
            assert (refused.value.code, refused.value.status) == ("PreconditionFailed", 412)
            with pytest.raises(S3Error):
                await delete(queue, "k", Terms(expects=expected))
        assert [path for path in (tmp_path / "queue" / "bodies").iterdir() if path.is_file()] == []
        assert await content(queue, "k") == b"a"
        await put(queue, "k", b"c", Terms(expects=A, name="photos"))
        (change,) = queue.object_status(BUCKET, "k")["changes"]
        assert (change["etag"], change["origin"]) == (C, "sync:photos")
        await delete(queue, "k", Terms(expects=C))
        assert await content(queue, "k") is None


@pytest.mark.semantics("Q-21a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_no_header_of_a_client_is_a_term(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket)
    terms = ("expects", "after", "conflict", "always", "origin", "name", "terms")
    headers = {f"x-s3d-{name}": "x" for name in terms} | {f"x-amz-meta-{name}": "x" for name in terms}
    assert raw(daemon, "PUT", f"/{bucket}/k", body=b"a", **headers)[0] == 200
    assert daemon.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"a"
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"a"


@pytest.mark.semantics("Q-21", "D-7a")
async def test_a_move_is_delivered_in_order_and_says_what_it_waits_for(tmp_path: Path) -> None:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    async with opened(tmp_path, fake) as queue:
        await put(queue, "old", b"a")
        await put(queue, "new", b"a")
        await delete(queue, "old", Terms(after=(BUCKET, "new", A)))
        (shown,) = queue.object_status(BUCKET, "old")["changes"]
        assert shown["waits_for"] == {"seq": 2, "bucket": BUCKET, "key": "new", "op": "put", "state": "waiting"}
        with pytest.raises(S3Error) as refused:
            await delete(queue, "old", Terms(after=(BUCKET, "new", B)))
        assert refused.value.status == 412
    store = Watched(fake, fake, [], {})
    async with at_work(tmp_path, store) as queue:
        await until(delivered(queue, "old"))
        assert [one for one in store.seen if one[0] in ("PutObject", "DeleteObject")] == [
            ("PutObject", "new", ""),
            ("DeleteObject", "old", ""),
        ]


@pytest.mark.semantics("Q-21", "Q-9d")
async def test_a_barrier_says_that_what_it_waits_for_waits_for_a_kept_back_change(tmp_path: Path) -> None:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    async with at_work(tmp_path, fake) as queue:
        held = {"x-amz-tagging": "s3d.upload=false"}
        await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "new"}, b"a", headers=held)
        await delete(queue, "old", Terms(after=(BUCKET, "new", A)))
        with pytest.raises(S3Error, match="must be delivered before it and is held") as refused:
            await ask(queue, "GetObjectAcl", {"Bucket": BUCKET, "Key": "old"})
        assert "Retry-After" not in refused.value.headers
        (kept,) = queue.kept("", "", None, 0)
        assert kept["followers"] == 1
        shown = io.StringIO()
        print_change(kept, shown)
        assert "waited for by 1 change" in shown.getvalue()
        rows = [text for _, text in object_rows(queue.object_status(BUCKET, "old"))]
        assert f"waits for put of {BUCKET}/new (change {kept['seq']}): held" in rows
        await queue.discard("", "", kept["seq"])
        (parked,) = queue.kept("", "", None, 0)
        assert (parked["key"], parked["state"], parked["code"]) == ("old", "parked", "Discarded")


@pytest.mark.semantics("Q-2b", "Q-21")
async def test_what_is_written_through_keeps_the_same_terms(queue: Queue, store: Watched) -> None:
    versioned = {"VersioningConfiguration": {"Status": "Enabled"}}
    await ask(queue, "PutBucketVersioning", {"Bucket": BUCKET, **versioned})
    assert await put(queue, "k", b"a", Terms(expects="")) == A
    for terms in (Terms(expects=""), Terms(expects=B), Terms(after=(BUCKET, "k", B))):
        with pytest.raises(S3Error) as refused:
            await put(queue, "k", b"c", terms)
        assert refused.value.status == 412
    assert await put(queue, "k", b"c", Terms(expects=A, after=(BUCKET, "k", A))) == C
    assert await content(store.fake, "k") == b"c"


@pytest.mark.semantics("Q-18g")
@pytest.mark.parametrize("takes_conditions", [True, False])
async def test_what_is_written_through_is_on_condition_where_the_store_takes_one(
    tmp_path: Path, takes_conditions: bool
) -> None:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    await ask(fake, "PutBucketVersioning", {"Bucket": BUCKET, "VersioningConfiguration": {"Status": "Enabled"}})
    await put(fake, "k", b"a")
    store = Watched(fake if takes_conditions else Unable(fake, "NotImplemented"), fake, [], {})

    async def foreign() -> None:
        await put(fake, "k", b"b")

    if takes_conditions:
        store.before["PutObject"] = foreign
    async with at_work(tmp_path, store) as queue:
        with pytest.raises(S3Error) as refused:
            await put(queue, "k", b"c", Terms(expects=A))
        if takes_conditions:
            assert (refused.value.status, await content(fake, "k")) == (412, b"b")
        else:
            assert refused.value.status == 501
            await put(queue, "k", b"c", Terms(expects=A))
            assert await content(fake, "k") == b"c"


@pytest.mark.semantics("Q-2b", "Q-18e")
async def test_what_is_written_through_onto_an_object_that_goes_is_made_upon_something_else(
    queue: Queue, store: Watched
) -> None:
    await ask(queue, "PutBucketVersioning", {"Bucket": BUCKET, "VersioningConfiguration": {"Status": "Enabled"}})
    await put(queue, "k", b"a")
    with pytest.raises(S3Error):
        await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "k", "IfMatch": '"x"'}, b"x")

    async def foreign() -> None:
        await ask(store.fake, "DeleteObject", {"Bucket": BUCKET, "Key": "k"})

    store.before["PutObject"] = foreign
    with pytest.raises(S3Error) as refused:
        await put(queue, "k", b"c", Terms(expects=A))
    assert (refused.value.status, refused.value.code) == (412, "PreconditionFailed")


@pytest.mark.semantics("Q-18f")
async def test_a_copy_under_a_new_name_is_made_where_the_store_honours_its_condition(tmp_path: Path) -> None:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    store = Watched(fake, fake, [], {})

    async def foreign() -> None:
        await put(fake, "theirs", b"b")

    async with at_work(tmp_path, store) as queue:
        await put(queue, "k", b"a")
        await until(delivered(queue, "k"))
        assert await copy(queue, "new") == A
        with pytest.raises(S3Error):
            await copy(queue, "new")
        store.before["CopyObject"] = foreign
        with pytest.raises(S3Error) as refused:
            await copy(queue, "theirs")
        assert refused.value.status == 412
        assert await content(fake, "theirs") == b"b"
    async with at_work(tmp_path, store) as queue:
        assert await copy(queue, "newer") == A
    # It was asked once: by a copy of the source onto itself.
    assert [key for operation, key, _ in store.seen if operation == "CopyObject"] == ["k", "new", "theirs", "newer"]


@pytest.mark.semantics("Q-18f")
async def test_a_copy_under_a_new_name_is_not_made_where_the_store_ignores_its_condition(tmp_path: Path) -> None:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    store = Watched(Ignoring(fake, ("CopyObject", "If-None-Match")), fake, [], {})
    async with at_work(tmp_path, store) as queue:
        await put(queue, "k", b"a")
        await until(delivered(queue, "k"))
        for key in ("new", "newer"):
            with pytest.raises(S3Error) as refused:
                await copy(queue, key)
            assert refused.value.code == "NotImplemented"
    assert [key for operation, key, _ in store.seen if operation == "CopyObject"] == ["k"]
    assert await content(fake, "new") is None


@pytest.mark.semantics("R-13")
async def test_who_follows_is_told_what_has_become_of_each_object(queue: Queue, store: Watched) -> None:
    following = queue.feed.follow()

    async def told() -> list[tuple[str, str | None, Why]]:
        return [(event.key, event.etag, event.why) for event in (await following.take()).events]

    await put(queue, "k", b"a")
    assert await told() == [("k", A, Why.ACKNOWLEDGED)]
    await until(delivered(queue, "k"))
    await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "k", "IfMatch": f'"{A}"'}, b"b")
    assert await told() == [("k", A, Why.DELIVERED), ("k", B, Why.THROUGH)]
    await delete(queue, "k", Terms())
    assert await told() == [("k", "", Why.ACKNOWLEDGED)]
    held = {"x-amz-tagging": "s3d.upload=false"}
    await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "held"}, b"a", headers=held)
    await queue.discard(BUCKET, "held", None)
    assert await told() == [("held", A, Why.ACKNOWLEDGED), ("held", None, Why.DISCARDED)]


@pytest.mark.semantics("R-13")
async def test_who_does_not_keep_up_is_told_that_something_was_missed() -> None:
    feed = Feed(kept=2)
    following = feed.follow()
    for number in range(3):
        feed.publish("b", f"k{number}", "e", Why.ACKNOWLEDGED)
    found = await following.take()
    assert (found.missed, [event.key for event in found.events]) == (True, ["k1", "k2"])
    feed.publish("b", "k3", "", Why.THROUGH)
    found = await following.take()
    assert (found.missed, found.events) == (False, (Event(4, "b", "k3", "", Why.THROUGH),))


def test_only_writes_of_one_object_have_terms() -> None:
    async def nobody(_: Call) -> Reply:
        raise AssertionError("it is not asked")

    asking = Client(nobody, "sync").ask("GetObject", {"Bucket": BUCKET, "Key": "k"}, terms=ALWAYS)
    with pytest.raises(TypeError, match="GetObject"):
        asking.send(None)


@pytest.mark.semantics("Q-18d")
def test_an_answer_that_the_remote_did_not_give_teaches_no_etag() -> None:
    seen = SeenEtags()
    call = door_call("GetObject", {"Bucket": BUCKET, "Key": "k"}, None, {})
    sources: tuple[tuple[Source, str | None], ...] = (("cache", None), ("stale", None), ("queue", None), ("remote", A))
    for source, known in sources:
        reply = Reply(200, source=source)
        reply.headers["ETag"] = f'"{A}"'
        seen.read(call, reply, None)
        assert seen.of(BUCKET, "k") == known
