"""An API server and a client of it, for every test of the operator that wants them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from s3d_operator import kube
from s3d_operator.kube import Kube
from tests.operator.apiserver import ApiServer, serving

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
def api() -> ApiServer:
    """An API server without objects."""
    return ApiServer()


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[Kube]:
    """A client of it."""
    async with serving(api) as access, Kube(access) as client:
        yield client


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that has ended begins again at once."""
    monkeypatch.setattr(kube, "BACKOFF_SECONDS", (0.001, 0.01))


@pytest.fixture
def eventually() -> Eventually:
    """Wait until something holds."""

    async def wait(holds: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end, "did not come to hold"
            await asyncio.sleep(0.005)

    return wait
