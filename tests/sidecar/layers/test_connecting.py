"""A remote that could not be opened leaves no session behind."""

import asyncio
import gc

import aiohttp
import pytest

from s3d.errors import ConfigError
from s3d.layers.identities import Identities
from s3d.layers.remote import connect
from s3d.metrics import Metrics
from s3d.settings import Remote


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """Connecting reads the trusted certificates, which blocks; a daemon does so at its start."""


def open_sessions() -> list[aiohttp.ClientSession]:
    return [one for one in gc.get_objects() if isinstance(one, aiohttp.ClientSession) and not one.closed]


async def test_a_proxy_that_s3d_cannot_speak_to_is_refused_before_a_session_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    before = open_sessions()
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        async with connect(Remote(endpoint="https://127.0.0.1:1", anonymous=True), Metrics()):
            pass
    assert open_sessions() == before


async def test_a_start_that_is_cancelled_while_identities_are_read_closes_its_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = asyncio.Event()

    async def read(_: Identities) -> None:
        reads.set()
        await asyncio.Event().wait()

    async def start() -> None:
        async with connect(Remote(endpoint="http://127.0.0.1:1", anonymous=True), Metrics()):
            pass

    monkeypatch.setattr(Identities, "read", read)
    before = open_sessions()
    starting = asyncio.create_task(start())
    await reads.wait()
    assert len(open_sessions()) == len(before) + 2
    starting.cancel()
    await asyncio.wait([starting])
    assert open_sessions() == before
