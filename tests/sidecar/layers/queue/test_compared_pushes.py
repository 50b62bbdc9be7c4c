"""What is compared at the push: what somebody else has written is found out by a look or by a condition, and is neither
replaced nor deleted (SEMANTICS Q-2c, Q-18).

The queue has all its tasks, in front of a store in memory that honours If-Match on deletes, or ignores it.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.api import Terms
from s3d.errors import S3Error
from s3d.layers.queue import Queue
from s3d.settings import WriteQueue
from tests.callers import ask
from tests.fakes.fake import Fake
from tests.queues import BUCKET, at_work, until
from tests.sidecar.layers.queue.terms import (
    ALWAYS,
    A,
    C,
    Ignoring,
    Unable,
    Watched,
    content,
    delete,
    deliver_and_refuse,
    delivered,
    parked,
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
