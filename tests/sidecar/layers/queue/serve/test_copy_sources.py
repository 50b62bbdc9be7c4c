"""The source of a copy: read as S3 reads it, so that the copy waits for what is pending of the same object."""

from pathlib import Path
from typing import Any

import pytest

from s3d.errors import S3Error
from tests.callers import Answer
from tests.gateways import gateway
from tests.listers import Lister, Style
from tests.stores import Store

pytestmark = pytest.mark.usefixtures("quick")
SAME = ["b/d/k", "/b/d/k", "b%2Fd%2Fk", "b%2fd/k", "%2Fb%2Fd%2Fk", "%62/d/%6B"]
NAMELESS = ["b", "b/", "/b", "b%2F", "/", "%2F", "b%252Fk", "?versionId=1", "b/%ff", "b/d/k?other"]


@pytest.mark.semantics("R-3", "R-4")
@pytest.mark.parametrize("source", SAME)
async def test_a_copy_is_of_what_is_pending_however_its_source_is_encoded(tmp_path: Path, source: str) -> None:
    store = Store(Lister(Style(), {"b": ["d/k"]}))
    async with store, gateway(tmp_path, store, ("b",), delay="1h") as gate:
        await gate.ask("PutObject", {"Bucket": "b", "Key": "first"}, b"y")
        await gate.ask("PutObject", {"Bucket": "b", "Key": "d/k"}, b"newer")
        part: dict[str, Any] = {"Bucket": "b", "Key": "whole", "PartNumber": 1}
        await gate.ask("CreateMultipartUpload", {"Bucket": "b", "Key": "first"})
        begun = await gate.ask("CreateMultipartUpload", {"Bucket": "b", "Key": "whole"})
        assert isinstance(begun, Answer)
        part["UploadId"] = begun.result["UploadId"]
        taken = await gate.ask("UploadPartCopy", {**part, "CopySource": source})
        copied = await gate.ask("CopyObject", {"Bucket": "b", "Key": "copy", "CopySource": source})
        read = await gate.ask("GetObject", {"Bucket": "b", "Key": "copy"})
        assert isinstance(taken, Answer)
        assert isinstance(copied, Answer)
        assert isinstance(read, Answer)
        assert taken.result["CopyPartResult"]["ETag"] == copied.result["CopyObjectResult"]["ETag"]
        assert read.data == b"newer"


@pytest.mark.semantics("R-4")
@pytest.mark.parametrize("source", NAMELESS)
async def test_a_source_without_a_key_is_refused(tmp_path: Path, source: str) -> None:
    store = Store(Lister(Style(), {"b": ["d/k"]}))
    async with store, gateway(tmp_path, store, ("b",)) as gate:
        for operation, more in (("CopyObject", {}), ("UploadPartCopy", {"PartNumber": 1, "UploadId": "u"})):
            answer = await gate.ask(operation, {"Bucket": "b", "Key": "copy", "CopySource": source, **more})
            assert isinstance(answer, S3Error)
            assert (answer.status, answer.code) == (400, "InvalidArgument")
