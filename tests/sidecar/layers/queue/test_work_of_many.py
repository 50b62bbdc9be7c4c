"""What a start and a page cost does not grow with the changes that wait, counted in SQLite's own steps."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from s3d.layers.queue import inspection
from tests.callers import ask
from tests.fakes.fake import Fake
from tests.queues import BUCKET, opened

FEW, MANY = 1_500, 4_500
"""Changes; already the fewer ones fill what a page looks at."""
LOOKED_AT = 100
PAGE = 50
SPARE = 1.25
"""Deeper trees take a few steps more."""


@contextmanager
def counted_steps() -> Iterator[list[int]]:
    """Count the steps of SQLite's machine in all connections that are opened meanwhile."""
    steps: list[int] = []

    def watch(connection: apsw.Connection) -> None:
        connection.trace_v2(
            apsw.SQLITE_TRACE_PROFILE, lambda event: steps.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])
        )

    apsw.connection_hooks.append(watch)
    try:
        yield steps
    finally:
        apsw.connection_hooks.remove(watch)


async def fill(directory: Path, remote: Fake, changes: int) -> None:
    """Put objects that a tag holds back."""
    async with opened(directory, remote) as queue:
        await asyncio.gather(*[put(queue, number) for number in range(changes)])


async def put(queue: Any, number: int) -> None:
    params = {"Bucket": BUCKET, "Key": f"key/{number:06}"}
    await ask(queue, "PutObject", params, b"1", headers={"x-amz-tagging": "s3d.upload=false"})


async def steps_of(directory: Path, remote: Fake) -> tuple[int, int]:
    """The steps of a start, and those of a page behind the first quarter."""
    with counted_steps() as steps:
        async with opened(directory, remote) as queue:
            start = sum(steps)
            steps.clear()
            params = {"Bucket": BUCKET, "Prefix": "key/", "MaxKeys": PAGE, "StartAfter": f"key/{FEW // 4:06}"}
            page = await ask(queue, "ListObjectsV2", params)
            assert len(page.result["Contents"]) == PAGE
            return start, sum(steps)


@pytest.mark.semantics("Q-13a")
async def test_neither_a_start_nor_a_page_grows_with_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "MAX_AT_START", LOOKED_AT)
    remote = Fake()
    await ask(remote, "CreateBucket", {"Bucket": BUCKET})
    work = {}
    for changes in (FEW, MANY):
        await fill(tmp_path / str(changes), remote, changes)
        work[changes] = await steps_of(tmp_path / str(changes), remote)
    for few, many in zip(work[FEW], work[MANY], strict=True):
        assert 0 < many <= SPARE * few, work
