"""Fixtures of this folder."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.store.bodies import Bodies


@pytest.fixture
async def bodies(tmp_path: Path) -> AsyncIterator[Bodies]:
    store = await asyncio.to_thread(Bodies, tmp_path / "bodies")
    yield store
    await store.close()
