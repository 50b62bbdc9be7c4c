"""The queue's filter: which writes are queued, and which are written through (SEMANTICS F-4, F-5)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from s3d import config
from s3d.errors import ConfigError, S3Error
from tests.callers import Answer
from tests.fakes.contents import Bucket
from tests.gateways import Gateway, gateway, quick
from tests.stores import Store

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


class Case(NamedTuple):
    """A write, and whether a filter takes it in."""

    rules: str
    queued: bool
    operation: str = "PutObject"
    params: Mapping[str, Any] = {}
    data: bytes | None = b"12345"


DELETE, CREATE = "DeleteObject", "CreateMultipartUpload"
CASES = [
    Case("", True),
    Case("b", True),
    Case("other", False),
    Case("!b/tmp/*", True),
    Case("!b/k", False),
    Case("b/*[hdr:content-length<6]", True),
    Case("b/*[hdr:content-length<5]", False),
    Case("b/*[hdr:content-type=video/*]", True, params={"ContentType": "video/mp4"}),
    Case("b/*[hdr:content-type=video/*]", False),
    Case("b/*[md:author=Ada]", True, params={"Metadata": {"Author": "Ada"}}),
    Case("b/*[md:author=Ada]", False),
    Case("b/*[tag:class=public]", True, params={"Tagging": "class=public"}),
    Case("b/*[tag:class!=secret]", True),
    Case("b/*[tag:class!=secret]", False, params={"Tagging": "class=secret"}),
    Case("b[tag:team=blue]", True),
    Case("b[tag:team=red]", False),
    Case("b[tag:site]", False),
    # What is not known matches no rule, whatever that rule does.
    Case("b/*[hdr:content-length<6]", False, CREATE, data=None),
    Case("!b/*[hdr:content-length>=0]", True, CREATE, data=None),
    Case("b/*[tag:class=public]", True, CREATE, {"Tagging": "class=public"}, None),
    Case("b/*[tag:class!=secret]", False, DELETE, data=None),
    Case("!b/*[tag:class!=secret]", True, DELETE, data=None),
    Case("b[tag:team]", True, DELETE, data=None),
]


def reason_of(answer: Answer | S3Error) -> str:
    assert isinstance(answer, Answer), answer
    return answer.headers.get("x-s3d-reason", "")


async def stand_in(store: Store, here: Gateway) -> None:
    """Make a bucket whose writes were seen to be accepted."""
    store.fake.buckets["b"] = Bucket("b", 0.0, tags=(("team", "blue"),))
    for key in ("seen", "seen as well"):
        await here.ask("PutObject", {"Bucket": "b", "Key": key}, b"x")


@pytest.mark.semantics("F-4", "F-5a")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation} {case.rules or 'nothing'} {case.queued}")
async def test_what_the_filter_leaves_out_is_written_through(case: Case, tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, filter=case.rules) as here:
        await stand_in(store, here)
        answer = await here.ask(case.operation, {"Bucket": "b", "Key": "k", **case.params}, case.data)
        assert (reason_of(answer) != "filter") is case.queued


@pytest.mark.semantics("F-4", "Q-20")
async def test_of_a_bulk_delete_the_keys_that_are_left_out_are_deleted_by_the_remote(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, filter="b/in*", delay=60.0) as here:
        await stand_in(store, here)
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "in the beginning"})
        objects = [{"Key": "in"}, {"Key": "out"}, {"Key": "in, too"}]
        answer = await here.ask("DeleteObjects", {"Bucket": "b", "Delete": {"Objects": objects}})
        assert isinstance(answer, Answer)
        assert [one["Key"] for one in answer.result["Deleted"]] == ["in", "out", "in, too"]
        assert (here.state("b", "in"), here.state("b", "in, too")) == ("waiting", "waiting")
        assert store.count("DeleteObjects") == 1
        objects = [{"Key": "out"}]
        await here.ask("DeleteObjects", {"Bucket": "b", "Delete": {"Objects": objects}})
        assert store.count("DeleteObjects") == 2


@pytest.mark.semantics("F-4")
async def test_a_part_and_the_end_of_an_upload_go_where_its_beginning_went(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"filter": "b/*[tag:class=public]", "delay": 60.0}
    async with Store() as store, gateway(tmp_path, store, **settings) as here:
        await stand_in(store, here)
        await uploaded(here, "first of its kind")
        assert await uploaded(here, "k") == "queue"
        assert here.state("b", "k") == "waiting"


async def uploaded(here: Gateway, key: str) -> str:
    """Upload an object of one part; who has taken the part."""
    named = {"Bucket": "b", "Key": key}
    begun = await here.ask("CreateMultipartUpload", {**named, "Tagging": "class=public"})
    assert isinstance(begun, Answer)
    named["UploadId"] = begun.result["UploadId"]
    part = await here.ask("UploadPart", {**named, "PartNumber": 1}, b"x")
    assert isinstance(part, Answer)
    parts = {"Parts": [{"ETag": part.result["ETag"], "PartNumber": 1}]}
    assert isinstance(await here.ask("CompleteMultipartUpload", {**named, "MultipartUpload": parts}), Answer)
    return part.source


@pytest.mark.semantics("F-2", "F-4")
async def test_another_filter_concerns_what_comes_from_then_on(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, delay=60.0) as here:
        await stand_in(store, here)
        await here.ask("PutObject", {"Bucket": "b", "Key": "before"}, b"x")
        settings = here.queue._context.settings
        assert config.reload(settings, {"S3D_WRITE_QUEUE_FILTER": ["!b"]}) == ["S3D_WRITE_QUEUE_FILTER"]
        assert here.state("b", "before") == "waiting"
        assert reason_of(await here.ask("PutObject", {"Bucket": "b", "Key": "behind"}, b"x")) == "filter"
        with pytest.raises(ConfigError, match=r"character 2 of '!\[b'"):
            config.reload(settings, {"S3D_WRITE_QUEUE_FILTER": ["![b"]})
        assert reason_of(await here.ask("PutObject", {"Bucket": "b", "Key": "later"}, b"x")) == "filter"
