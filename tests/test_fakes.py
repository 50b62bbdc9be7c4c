"""A remote is a remote: the fake does what real servers do, on every point that the tests lean on."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from s3d import client
from s3d.api import S3, BytesBody, read_all
from s3d.layers import remote as layer
from s3d.metrics import Metrics
from s3d.protocol.checksums import content_md5
from s3d.settings import Remote as RemoteSettings
from tests.callers import ask
from tests.contracts.far import Far, md5
from tests.contracts.remotes import RemoteCheck, remote_contract
from tests.fakes.fake import Fake
from tests.remotes import REGION, REMOTES, Remote


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """Connecting reads botocore's data and the trusted certificates, which blocks; a daemon does so at its start."""


@pytest.fixture(params=["fake", *REMOTES])
async def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3]:
    """The fake, and each real server through the one wire path."""
    if request.param == "fake":
        yield Fake()
        return
    chosen: Remote = request.getfixturevalue(request.param)
    for name, value in chosen.environment.items():
        monkeypatch.setenv(name, value)
    async with layer.connect(RemoteSettings(endpoint=chosen.endpoint, region=REGION), Metrics()) as connected:
        yield connected


# What moto does otherwise; each must show, or its row goes.
MOTO = {
    "parts_become_an_object": "it knows no part numbers of a GET",
    "parts_are_listed_page_by_page": "it says that the first page is the last",
    "an_upload_shows_nothing_until_it_is_complete": "it names a part of an aborted upload otherwise",
    "the_first_listing_goes_on_from_a_marker": "it names no marker that a client could go on from",
}


@remote_contract
async def test_a_remote_keeps_the_contract(
    s3: S3, check: RemoteCheck, request: pytest.FixtureRequest, *, typed: bool
) -> None:
    bucket = f"contract-{secrets.token_hex(6)}"
    await ask(s3, "CreateBucket", {"Bucket": bucket}, typed=True)
    if request.node.callspec.params["s3"] == "moto" and check.__name__ in MOTO:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            await check(Far(s3, typed), bucket)
    else:
        await check(Far(s3, typed), bucket)


async def test_a_remote_holds_bytes_to_their_digest(s3: S3, request: pytest.FixtureRequest) -> None:
    """Bytes that nobody has looked at on their way."""
    if request.node.callspec.params["s3"] == "moto":
        pytest.skip("it looks at no Content-MD5")
    bucket = f"contract-{secrets.token_hex(6)}"
    await ask(s3, "CreateBucket", {"Bucket": bucket}, typed=True)
    call = client.request("PutObject", {"Bucket": bucket, "Key": "k", "ContentMD5": content_md5(md5(b"other"))})
    reply = await s3(replace(call, body=BytesBody(b"bytes")))
    assert reply.status == 400
    assert b"<Code>BadDigest</Code>" in await read_all(reply.body, 1 << 20)
