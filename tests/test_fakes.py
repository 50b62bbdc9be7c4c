"""A remote is a remote: the fake does what real servers do, on every point that the tests lean on."""

import secrets
from collections.abc import AsyncIterator

import pytest

from s3d import config
from s3d.api import S3
from s3d.layers import remote as layer
from s3d.metrics import Metrics
from tests.callers import ask
from tests.contracts import RemoteCheck, remote_contract
from tests.fakes import Fake
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
    async with layer.connect(config.Remote(endpoint=chosen.endpoint, region=REGION), Metrics()) as connected:
        yield connected


# What moto does otherwise; each must show, or its row goes.
MOTO = {
    "bytes_that_do_not_match_their_digest_are_refused": "it looks at no Content-MD5",
    "parts_become_an_object": "it knows no part numbers of a GET",
    "parts_are_listed_page_by_page": "it says that the first page is the last",
    "an_upload_shows_nothing_until_it_is_complete": "it names a part of an aborted upload otherwise",
    "the_first_listing_goes_on_from_a_marker": "it names no marker that a client could go on from",
}


@remote_contract
async def test_a_remote_keeps_the_contract(s3: S3, check: RemoteCheck, request: pytest.FixtureRequest) -> None:
    bucket = f"contract-{secrets.token_hex(6)}"
    await ask(s3, "CreateBucket", {"Bucket": bucket}, typed=True)
    if request.node.callspec.params["s3"] == "moto" and check.__name__ in MOTO:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            await check(s3, bucket)
    else:
        await check(s3, bucket)
