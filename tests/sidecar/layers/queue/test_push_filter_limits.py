"""What the push filter holds and the queue cannot: it is refused, and leaves half of the queue to others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from s3d.errors import S3Error
from tests.callers import Answer
from tests.fakes.contents import Bucket
from tests.gateways import gateway, quick
from tests.queues import until
from tests.sidecar.layers.queue.filtering import put, soon, stand_in
from tests.stores import Store, there

__all__ = ["quick", "soon"]

pytestmark = pytest.mark.usefixtures("quick")

THROUGH: dict[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "if-match": ("PutObject", {"IfMatch": '"0"'}, {}),
    "if-none-match": ("PutObject", {"IfNoneMatch": "*"}, {}),
    "unsupported": ("PutObject", {"StorageClass": "GLACIER"}, {}),
    "at the remote": ("UploadPart", {"UploadId": "theirs", "PartNumber": 1}, {}),
    "versioned": ("PutObject", {}, {"versioning": "Enabled"}),
    "filter": ("PutObject", {}, {}),
    "larger than the queue": ("PutObject", {}, {}),
    "a delete, if-match": ("DeleteObject", {"IfMatch": '"0"'}, {}),
    "a copy": ("CopyObject", {"CopySource": "b/there"}, {}),
    "an upload": ("CreateMultipartUpload", {"StorageClass": "GLACIER"}, {}),
}


@pytest.mark.semantics("Q-11a", "F-4a")
@pytest.mark.parametrize("why", THROUGH)
async def test_a_write_that_the_filter_holds_and_that_cannot_be_queued_is_refused_and_not_sent(
    why: str, tmp_path: Path
) -> None:
    operation, params, bucket = THROUGH[why]
    settings: dict[str, Any] = {"push_filter": "!b/k"}
    if why == "filter":
        settings["filter"] = "other"
    if why == "larger than the queue":
        settings["max_size"] = 4096
    async with Store() as store, gateway(tmp_path, store, **settings) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0, **bucket)
        data = bytes(8192) if operation in ("PutObject", "UploadPart") else None
        answer = await here.ask(operation, {"Bucket": "b", "Key": "k", **params}, data)
        assert isinstance(answer, S3Error)
        assert (answer.status, answer.code) == (403, "AccessDenied")
        assert "!b/k of the push filter" in answer.message
        assert [one.method for one in store.seen if one.method not in ("GET", "HEAD")] == []


@pytest.mark.semantics("Q-11a", "F-4a")
async def test_of_a_bulk_delete_the_keys_that_the_filter_holds_are_refused_where_they_cannot_be_queued(
    tmp_path: Path,
) -> None:
    async with Store() as store, gateway(tmp_path, store, push_filter="!b/k") as here:
        store.fake.buckets["b"] = Bucket("b", 0.0, versioning="Enabled")
        answer = await here.ask("DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "k"}]}})
        assert isinstance(answer, Answer)
        assert [one["Code"] for one in answer.result["Errors"]] == ["AccessDenied"]
        assert store.count("DeleteObjects") == 0


@pytest.mark.semantics("F-4a", "Q-11a")
async def test_an_upload_that_the_filter_takes_in_goes_through_with_its_parts(tmp_path: Path) -> None:
    rules = "b/*[tag:class=public]"
    async with Store() as store, gateway(tmp_path, store, push_filter=rules) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0, versioning="Enabled")
        named = {"Bucket": "b", "Key": "k"}
        begun = await here.ask("CreateMultipartUpload", {**named, "Tagging": "class=public"})
        assert isinstance(begun, Answer)
        named["UploadId"] = begun.result["UploadId"]
        part = await here.ask("UploadPart", {**named, "PartNumber": 1}, b"x")
        assert isinstance(part, Answer)
        parts = {"Parts": [{"ETag": part.result["ETag"], "PartNumber": 1}]}
        assert isinstance(await here.ask("CompleteMultipartUpload", {**named, "MultipartUpload": parts}), Answer)
        assert there(store) == ["k"]


@pytest.mark.semantics("Q-7g")
@pytest.mark.parametrize("limits", [{"max_files": 7}, {"max_size": 65536}], ids=str)
async def test_what_is_held_leaves_half_of_the_queue_to_others(limits: dict[str, Any], tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, push_filter="!b/held*", wait=0.0, **limits) as here:
        await stand_in(store, here)
        for number in range(3):
            answer = await here.ask("PutObject", {"Bucket": "b", "Key": f"held {number}"}, bytes(10_000))
            assert isinstance(answer, Answer)
        answer = await here.ask("PutObject", {"Bucket": "b", "Key": "held, too"}, bytes(10_000))
        assert isinstance(answer, S3Error)
        assert (answer.status, answer.code) == (503, "SlowDown")
        assert "!b/held* of the push filter" in answer.message
        assert here.queue.object_status("b", "held, too")["changes"] == []
        # The same key again takes the place of what it holds.
        assert isinstance(await here.ask("PutObject", {"Bucket": "b", "Key": "held 0"}, b"x"), Answer)
        await put(here, "free")
        await until(lambda: there(store) == ["free"])
