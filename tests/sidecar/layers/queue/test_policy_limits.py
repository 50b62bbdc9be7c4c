"""Where a policy is asked before a write is acknowledged: what cannot be queued, and what fills half of the queue."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from s3d import config
from s3d.errors import S3Error
from tests.callers import Answer
from tests.gateways import quick
from tests.policies import Scripted
from tests.queues import until
from tests.sidecar.layers.queue.governing import governed, put, sent, soon
from tests.stores import Store, there

__all__ = ["quick", "soon"]

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.semantics("Q-7g", "F-3j")
@pytest.mark.parametrize("limits", [{"max_files": 7}, {"max_size": 65536}], ids=str)
async def test_what_the_policy_holds_leaves_half_of_the_queue_to_what_it_lets_leave(
    limits: dict[str, Any], tmp_path: Path
) -> None:
    policy = Scripted(lambda asked: not asked["key"].startswith("held"))
    async with Store() as store, governed(tmp_path, store, policy, wait=0.0, **limits) as here:
        for number in range(3):
            await put(here, f"held {number}", bytes(10_000))
        await until(lambda: here.queue.states()["held"] == 3)
        answer = await here.ask("PutObject", {"Bucket": "b", "Key": "held, too"}, bytes(10_000))
        assert isinstance(answer, S3Error)
        assert (answer.status, answer.code) == (503, "SlowDown")
        assert f"the policy (decision d{len(policy.asked)}) would hold this write, too" in answer.message
        await put(here, "free", bytes(10_000))
        await until(lambda: there(store) == ["free"])
        assert [one["key"] for one in policy.asked].count("free") == 1, "it is not asked about twice"
        policy.hangs = True
        config.reload(here.queue._context.settings, {"S3D_OPA_TIMEOUT": "200ms"})
        answer = await here.ask("PutObject", {"Bucket": "b", "Key": "free, too"}, bytes(10_000))
        assert isinstance(answer, S3Error)
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        await until(lambda: here.queue.pending()["changes"] == 3)


@pytest.mark.semantics("F-3j")
async def test_what_nobody_has_judged_counts_to_the_half_and_is_asked_about_first_beyond_it(tmp_path: Path) -> None:
    policy = Scripted()
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy, max_files=7, wait=0.0) as here:
        for number in range(3):
            await put(here, f"k{number}")
        async with asyncio.TaskGroup() as tasks:
            waits = tasks.create_task(put(here, "k3"))
            await until(lambda: "k3" in {one["key"] for one in policy.asked})
            assert here.queue.pending()["changes"] == 3
            assert not waits.done()
            policy.heal()
        await until(lambda: sorted(there(store)) == ["k0", "k1", "k2", "k3"])


THROUGH: list[tuple[str, str, dict[str, Any], bytes | None, dict[str, str]]] = [
    ("a condition", "PutObject", {}, b"12345", {"if_none_match": "*"}),
    ("an unknown member", "PutObject", {}, b"12345", {"x_amz_unheard_of": "a"}),
    ("a condition on a delete", "DeleteObject", {}, None, {"if_match": '"x"'}),
    ("left out by the filter", "PutObject", {"Key": "out"}, b"12345", {}),
    ("a delete that is left out", "DeleteObject", {"Key": "out"}, None, {}),
    ("an upload that is left out", "CreateMultipartUpload", {"Key": "out"}, None, {}),
    ("larger than the queue", "PutObject", {}, bytes(200_000), {}),
    ("a part of the remote's upload", "UploadPart", {"PartNumber": 1, "UploadId": "there"}, b"12345", {}),
    ("an operation that is never queued", "RenameObject", {"RenameSource": "b/old"}, None, {}),
    ("a copy of what the remote has", "CopyObject", {"CopySource": "b/source", "Key": "out"}, None, {}),
]


@pytest.mark.semantics("F-3d", "Q-11a")
@pytest.mark.parametrize("case", THROUGH, ids=lambda case: case[0])
async def test_what_cannot_be_queued_is_asked_about_before_a_byte_of_it_leaves(
    case: tuple[str, str, dict[str, Any], bytes | None, dict[str, str]], tmp_path: Path
) -> None:
    _, operation, params, data, headers = case
    named = {name: value for name, value in {"Bucket": "b", "Key": "k", **params}.items() if value is not None}
    policy = Scripted(lambda _: False)
    async with Store() as store, governed(tmp_path, store, policy, filter="*, !b/out*", max_size=100_000) as here:
        answer = await here.ask(operation, named, data, **headers)
        assert policy.asked, answer
        before = [one.operation for one in store.seen]
        assert operation not in before
        assert isinstance(answer, S3Error)
        assert (answer.status, answer.code) == (403, "AccessDenied")
        assert "the policy (decision d1) keeps this write back" in answer.message
        policy.says = lambda _: None
        answer = await here.ask(operation, named, data, **headers)
        assert isinstance(answer, S3Error)
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "ServiceUnavailable", "1")
        assert "the policy came to no decision" in answer.message
        assert [one.operation for one in store.seen] == before
        policy.says = lambda _: True
        await here.ask(operation, named, data, **headers)
        assert [one.operation for one in store.seen[len(before) :]][-1] == operation


@pytest.mark.semantics("F-3f")
async def test_with_a_policy_the_first_write_of_a_kind_is_queued(tmp_path: Path) -> None:
    policy = Scripted()
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here)
        await put(here, "tagged", Tagging="a=b")
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "gone"})
        assert sent(store) == []
        policy.heal()
        await until(lambda: not here.queue.pending()["changes"])
        assert sorted(sent(store)) == ["gone", "k", "tagged"]


@pytest.mark.semantics("F-3")
async def test_a_completed_upload_is_asked_about_with_its_size(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked.get("size") == 10)
    async with Store() as store, governed(tmp_path, store, policy) as here:
        named = {"Bucket": "b", "Key": "k"}
        begun = await here.ask("CreateMultipartUpload", named)
        assert isinstance(begun, Answer)
        of_it = {**named, "UploadId": begun.result["UploadId"]}
        part = await here.ask("UploadPart", {**of_it, "PartNumber": 1}, b"1234567890")
        assert isinstance(part, Answer)
        assert policy.asked == []
        parts = {"Parts": [{"PartNumber": 1, "ETag": part.headers["ETag"]}]}
        assert isinstance(await here.ask("CompleteMultipartUpload", {**of_it, "MultipartUpload": parts}), Answer)
        await until(lambda: there(store) == ["k"])
        assert [(one["operation"], one["size"]) for one in policy.asked] == [("put", 10)]


@pytest.mark.semantics("F-3d", "Q-11a")
async def test_an_upload_that_the_policy_keeps_here_does_not_spill(tmp_path: Path) -> None:
    policy = Scripted(lambda _: False)
    async with Store() as store, governed(tmp_path, store, policy, max_size=400_000) as here:
        named = {"Bucket": "b", "Key": "k"}
        begun = await here.ask("CreateMultipartUpload", named)
        assert isinstance(begun, Answer)
        of_it = {**named, "UploadId": begun.result["UploadId"]}
        part = await here.ask("UploadPart", {**of_it, "PartNumber": 1}, bytes(300_000))
        assert isinstance(part, Answer)
        # More than half of the queue: it would spill.
        assert [one["operation"] for one in policy.asked] == ["put"]
        assert sent(store) == []
        policy.says = lambda _: True
        await here.ask("UploadPart", {**of_it, "PartNumber": 2}, b"12345")
        await until(lambda: sent(store) == ["k"])


@pytest.mark.semantics("F-3d", "Q-11a")
async def test_deletes_that_cannot_be_queued_are_refused_key_by_key(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["key"] == "out1")
    delete = {"Objects": [{"Key": "out1"}, {"Key": "out2"}]}
    async with Store() as store, governed(tmp_path, store, policy, filter="!b/out*") as here:
        answer = await here.ask("DeleteObjects", {"Bucket": "b", "Delete": delete})
        assert isinstance(answer, Answer)
        assert [(one["Key"], one["Code"]) for one in answer.result["Errors"]] == [
            ("out1", "AccessDenied"),
            ("out2", "AccessDenied"),
        ]
        assert "DeleteObjects" not in [one.operation for one in store.seen]
