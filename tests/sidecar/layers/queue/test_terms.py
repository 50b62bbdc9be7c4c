"""What parts of s3d ask for their own writes: what they expect, what goes first, and what becomes of a conflict.

The queue has all its tasks, in front of a store in memory behind faults; the store honours If-Match on deletes, or not.
"""

import contextlib
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from s3d.api import S3, BytesBody, Call, Reply, Source, Terms
from s3d.cli.queue import print_change
from s3d.cli.status import object_rows
from s3d.client import Client
from s3d.errors import S3Error
from s3d.feed import Event, Feed, Why
from s3d.layers.queue import Queue
from s3d.layers.queue.remote_facts.seen_etags import SeenEtags
from s3d.protocol import answers, encode
from s3d.settings import WriteQueue
from tests.callers import ask, door_call
from tests.clients import raw
from tests.daemons import StartDaemon, drained, eventually
from tests.fakes.fake import Fake
from tests.model import md5
from tests.queues import BUCKET, at_work, opened, until
from tests.remotes import Remote

A, B, C = (md5(data) for data in (b"a", b"b", b"c"))
ALWAYS = Terms(always=True, conflict="Park")


@dataclass
class Ignoring:
    """A store that ignores a condition of an operation: it deletes whatever an If-Match says."""

    inner: S3
    condition: tuple[str, str] = ("DeleteObject", "If-Match")

    async def __call__(self, call: Call) -> Reply:
        operation, header = self.condition
        if call.operation == operation:
            headers = call.wire.headers.copy()
            headers.popall(header, None)
            call = replace(call, wire=replace(call.wire, headers=headers))
        return await self.inner(call)


@dataclass
class Unable:
    """A store that takes no put with a condition."""

    inner: S3
    code: str

    async def __call__(self, call: Call) -> Reply:
        said = call.wire.headers
        if call.operation == "PutObject" and ("If-Match" in said or "If-None-Match" in said):
            return encode.refusal(call, S3Error(self.code, "A header is not known", status=501))
        return await self.inner(call)


@dataclass
class Watched:
    """A store that says what was asked of it, and lets somebody write just before a call."""

    inner: S3
    fake: Fake
    seen: list[tuple[str, str, str]]
    """Operation, key and the condition that came with it."""
    before: dict[str, Callable[[], Any]]

    async def __call__(self, call: Call) -> Reply:
        said = call.wire.headers
        if call.key:
            self.seen.append((call.operation, call.key, said.get("If-Match") or said.get("If-None-Match") or ""))
        if call.operation in self.before:
            await self.before.pop(call.operation)()
        return await self.inner(call)

    def of(self, key: str) -> list[str]:
        """The operations on a key."""
        return [operation for operation, asked, _ in self.seen if asked == key]


@pytest.fixture(params=["honours", "ignores"])
async def store(request: pytest.FixtureRequest) -> Watched:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    return Watched(fake if request.param == "honours" else Ignoring(fake), fake, [], {})


@pytest.fixture
async def queue(tmp_path: Path, store: Watched) -> AsyncIterator[Queue]:
    async with at_work(tmp_path, store) as queue:
        yield queue


async def put(s3: S3, key: str, data: bytes, terms: Terms | None = None) -> str:
    """Put as the sync does where there are terms, else as a client; the ETag."""
    params = {"Bucket": BUCKET, "Key": key}
    if terms is None:
        return (await ask(s3, "PutObject", params, data)).etag
    return (await Client(s3, "sync").ask("PutObject", params, BytesBody(data), terms=terms)).etag


async def delete(s3: S3, key: str, terms: Terms) -> None:
    await Client(s3, "sync").ask("DeleteObject", {"Bucket": BUCKET, "Key": key}, terms=terms)


async def copy(s3: S3, key: str) -> str:
    """Have what is at `k` copied under a new name, as the sync does; the ETag."""
    params = {"Bucket": BUCKET, "Key": key, "CopySource": f"{BUCKET}/k"}
    answer = await Client(s3, "sync").ask("CopyObject", params, terms=Terms(expects="", always=True))
    return answers.etag_of(answer.result["CopyObjectResult"]["ETag"])


async def content(s3: S3, key: str) -> bytes | None:
    with contextlib.suppress(S3Error):
        return (await ask(s3, "GetObject", {"Bucket": BUCKET, "Key": key})).data
    return None


async def deliver_and_refuse(queue: Queue) -> None:
    """Deliver an object, and have the store refuse two puts: from then on it is known to honour conditions."""
    await put(queue, "k", b"a")
    await until(delivered(queue, "k"))
    for condition in ({"IfMatch": '"x"'}, {"IfNoneMatch": "*"}):
        with pytest.raises(S3Error):
            await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "k", **condition}, b"x")


def delivered(queue: Queue, key: str) -> Callable[[], bool]:
    return lambda: bool(queue.object_status(BUCKET, key)["state"] == "delivered")


def parked(queue: Queue, key: str) -> Callable[[], bool]:
    return lambda: bool(queue.object_status(BUCKET, key)["state"] == "parked")


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


@pytest.mark.semantics("Q-18b")
async def test_a_write_that_is_always_compared_parks_over_what_nobody_saw(queue: Queue, store: Watched) -> None:
    await put(queue, "k", b"a")
    await until(delivered(queue, "k"))
    await put(store.fake, "k", b"b")
    await put(queue, "k", b"c", Terms(expects=A, conflict="Park"))
    await until(parked(queue, "k"))
    assert await content(store.fake, "k") == b"b"
    assert await content(queue, "k") == b"c"
    await put(queue, "new", b"c", Terms(expects="", conflict="Park"))
    await until(delivered(queue, "new"))
    assert await content(store.fake, "new") == b"c"


@pytest.mark.semantics("Q-18b")
async def test_a_write_says_itself_that_it_overwrites(queue: Queue, store: Watched) -> None:
    await put(queue, "k", b"a")
    await until(delivered(queue, "k"))
    await put(store.fake, "k", b"b")
    await put(queue, "k", b"c", Terms(expects=A, conflict="Overwrite"))
    await until(delivered(queue, "k"))
    assert await content(store.fake, "k") == b"c"


@pytest.mark.semantics("Q-18b", "Q-18g")
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "never-asked"])
@pytest.mark.parametrize("there", [True, False], ids=["over", "new"])
async def test_what_is_written_between_the_look_and_the_push_is_found_out(
    queue: Queue, store: Watched, is_known: bool, there: bool
) -> None:
    """Whether or not the store is known to honour conditions."""
    if is_known:
        await deliver_and_refuse(queue)
    await put(queue, "one", b"a")
    await until(delivered(queue, "one"))
    key = "one" if there else "other"

    async def foreign() -> None:
        await put(store.fake, key, b"b")

    store.before["PutObject"] = foreign
    await put(queue, key, b"c", Terms(expects=A if there else "", conflict="Park"))
    await until(parked(queue, key))
    assert await content(store.fake, key) == b"b"
    # The store has minded the condition: it is not looked at before any more.
    await queue.retry(BUCKET, key, None)
    await until(delivered(queue, key))
    before = store.of(key).count("HeadObject")
    await put(queue, key, b"d", Terms(expects=C, conflict="Park"))
    await until(delivered(queue, key))
    assert store.of(key).count("HeadObject") == before + (not there and not is_known)


@pytest.mark.semantics("Q-18g")
@pytest.mark.parametrize("code", ["NotImplemented", "InvalidArgument"])
async def test_a_store_that_does_not_take_a_condition_is_sent_none(tmp_path: Path, code: str) -> None:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    store = Watched(Unable(fake, code), fake, [], {})
    async with at_work(tmp_path, store) as queue:
        await put(queue, "k", b"a", ALWAYS)
        await until(delivered(queue, "k"))
        await put(queue, "new", b"a", ALWAYS)
        await until(delivered(queue, "new"))
        first, second = (
            [said for one, of, said in store.seen if (one, of) == ("PutObject", key)] for key in ("k", "new")
        )
        # With the condition, without it, and the question whether it is honoured; later without it at once.
        assert first[:2] == ["*", ""]
        assert second == [""]
        await put(store.fake, "k", b"b")
        await put(queue, "k", b"c", Terms(expects=A, conflict="Park"))
        await until(parked(queue, "k"))
        assert await content(store.fake, "k") == b"b"


@pytest.mark.semantics("Q-18g")
async def test_an_upload_replaces_nothing_that_came_while_its_parts_were_sent(tmp_path: Path, store: Watched) -> None:
    async with at_work(tmp_path, store, WriteQueue(conflict="Park", conflict_check_after=0.0)) as queue:
        await put(queue, "k", b"a")
        await until(delivered(queue, "k"))

        async def foreign() -> None:
            await put(store.fake, "k", b"b")

        store.before["CompleteMultipartUpload"] = foreign
        named = {"Bucket": BUCKET, "Key": "k"}
        begun = (await ask(queue, "CreateMultipartUpload", named)).result["UploadId"]
        part = await ask(queue, "UploadPart", {**named, "UploadId": begun, "PartNumber": 1}, b"c")
        parts = {"Parts": [{"PartNumber": 1, "ETag": f'"{part.etag}"'}]}
        await ask(queue, "CompleteMultipartUpload", {**named, "UploadId": begun, "MultipartUpload": parts})
        await until(parked(queue, "k"))
        assert await content(store.fake, "k") == b"b"
        await queue.retry(BUCKET, "k", None)
        await until(delivered(queue, "k"))
        assert await content(store.fake, "k") == b"c"


@pytest.mark.semantics("Q-18", "Q-18c")
async def test_a_delete_that_was_refused_for_its_condition_says_nothing_of_puts(tmp_path: Path) -> None:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    store = Watched(Ignoring(fake, ("PutObject", "If-Match")), fake, [], {})

    async def foreign() -> None:
        await put(fake, "k", b"b")

    async def before_the_next() -> None:
        store.before["DeleteObject"] = foreign

    async with at_work(tmp_path, store) as queue:
        for key in ("k", "other"):
            await put(queue, key, b"a")
            await until(delivered(queue, key))
        store.before["DeleteObject"] = before_the_next
        await delete(queue, "k", Terms(expects=A, conflict="Park"))
        await until(parked(queue, "k"))
        await put(fake, "other", b"b")
        await put(queue, "other", b"c", Terms(expects=A, conflict="Park"))
        await until(parked(queue, "other"))
        assert await content(fake, "other") == b"b"


@pytest.mark.semantics("Q-2c")
async def test_what_was_made_upon_what_is_kept_beside_another_replaces_neither(queue: Queue, store: Watched) -> None:
    await put(queue, "k", b"a")
    await until(delivered(queue, "k"))
    await put(store.fake, "k", b"b")
    await put(queue, "k", b"c", Terms(expects=A, conflict="Park"))
    await until(parked(queue, "k"))
    for act in (put(queue, "k", b"a", Terms(expects=C)), delete(queue, "k", Terms(expects=C))):
        with pytest.raises(S3Error) as refused:
            await act
        assert (refused.value.code, refused.value.status) == ("PreconditionFailed", 412)
    assert await content(store.fake, "k") == b"b"
    # A person who has it tried again means to replace the other.
    await queue.retry(BUCKET, "k", None)
    await until(delivered(queue, "k"))
    assert await content(store.fake, "k") == b"c"


@pytest.mark.semantics("Q-2c")
async def test_what_was_made_upon_what_is_on_its_way_meets_the_same_conflict(queue: Queue, store: Watched) -> None:
    await put(queue, "k", b"a")
    await until(delivered(queue, "k"))
    await put(store.fake, "k", b"b")

    async def newer() -> None:
        await put(queue, "k", b"d", Terms(expects=C, conflict="Park"))

    store.before["HeadObject"] = newer
    await put(queue, "k", b"c", Terms(expects=A, conflict="Park"))
    await until(lambda: store.before == {} and parked(queue, "k")())
    assert await content(store.fake, "k") == b"b"
    assert await content(queue, "k") == b"d"
    assert {one["code"] for one in queue.kept("", "", None, 0)} == {"Conflict"}


@pytest.mark.semantics("Q-18b", "Q-18e")
async def test_what_is_deleted_between_the_look_and_the_push_is_found_out(queue: Queue, store: Watched) -> None:
    await deliver_and_refuse(queue)

    async def foreign() -> None:
        await ask(store.fake, "DeleteObject", {"Bucket": BUCKET, "Key": "k"})

    store.before["PutObject"] = foreign
    await put(queue, "k", b"c", Terms(expects=A, always=True, conflict="Park"))
    await until(parked(queue, "k"))
    (change,) = queue.object_status(BUCKET, "k")["changes"]
    assert change["code"] == "Conflict"
    await queue.retry(BUCKET, "k", None)
    await until(delivered(queue, "k"))
    assert await content(store.fake, "k") == b"c"

    async def before_the_next_put() -> None:
        store.before["PutObject"] = foreign

    await put(store.fake, "k", b"b")
    store.before["HeadObject"] = before_the_next_put
    await put(queue, "k", b"a", Terms(expects=C, always=True, conflict="Overwrite"))
    await until(delivered(queue, "k"))
    assert await content(store.fake, "k") == b"a"
    assert store.before == {}


@pytest.mark.semantics("Q-18c")
async def test_a_delete_of_what_nobody_saw_is_parked(queue: Queue, store: Watched) -> None:
    for key in ("first", "second"):
        await put(queue, key, b"a")
        await until(delivered(queue, key))
        await put(store.fake, key, b"b")
        await delete(queue, key, Terms(expects=A, conflict="Park"))
        await until(parked(queue, key))
        assert await content(store.fake, key) == b"b"
        await queue.retry(BUCKET, key, None)
        await until(delivered(queue, key))
        assert await content(store.fake, key) is None


@pytest.mark.semantics("Q-18c")
async def test_a_delete_of_what_is_gone_already_takes_nothing_that_comes_after_it(queue: Queue, store: Watched) -> None:
    """No condition says that there is no object."""
    await put(queue, "k", b"a")
    await until(delivered(queue, "k"))
    await ask(store.fake, "DeleteObject", {"Bucket": BUCKET, "Key": "k"})

    async def foreign() -> None:
        await put(store.fake, "k", b"b")

    store.before["DeleteObject"] = foreign
    await delete(queue, "k", Terms(expects=A, conflict="Park"))
    await until(delivered(queue, "k"))
    assert await content(store.fake, "k") == (None if "DeleteObject" in store.before else b"b")


@pytest.mark.semantics("Q-18c")
async def test_whether_a_delete_may_have_a_condition_is_found_out_by_one(
    queue: Queue, store: Watched, request: pytest.FixtureRequest
) -> None:
    for key in ("first", "second"):
        await put(queue, key, b"a")
        await until(delivered(queue, key))
        await delete(queue, key, ALWAYS)
        await until(delivered(queue, key))
        assert await content(store.fake, key) is None
    first, second = ([one for one in store.of(key) if one != "PutObject"] for key in ("first", "second"))
    if isinstance(store.inner, Fake):
        # Looked at, refused for the condition, deleted on condition; later it is asked no more.
        assert (first, second) == (["HeadObject", "DeleteObject", "DeleteObject"], ["DeleteObject"])
        assert ("DeleteObject", "second", f'"{A}"') in store.seen
    else:
        assert (first, second) == (["HeadObject", "DeleteObject"], ["HeadObject", "DeleteObject"])


@pytest.mark.semantics("Q-18c")
async def test_a_delete_whose_object_goes_before_it_says_nothing_of_the_store(queue: Queue, store: Watched) -> None:
    async def foreign() -> None:
        await ask(store.fake, "DeleteObject", {"Bucket": BUCKET, "Key": "gone"})

    for key in ("gone", "k"):
        await put(queue, key, b"a")
        await until(delivered(queue, key))
    store.before["DeleteObject"] = foreign
    await delete(queue, "gone", ALWAYS)
    await until(delivered(queue, "gone"))
    await delete(queue, "k", ALWAYS)
    await until(delivered(queue, "k"))
    asked = ["HeadObject", "DeleteObject", "DeleteObject"] if isinstance(store.inner, Fake) else None
    assert store.of("k")[1:] == (asked or ["HeadObject", "DeleteObject"])


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
