"""kopf beside a test: it tells a reconciler of what it watches."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import kopf

from s3d_operator.access import Access
from s3d_operator.reconcile import Reconciler


@asynccontextmanager
async def watching(reconciler: Reconciler, **options: Any) -> AsyncIterator[None]:
    """Let kopf watch for a reconciler."""

    async def find() -> Access:
        return reconciler.kube.access

    registry = reconciler.handlers(find)
    tasks = await kopf.spawn_tasks(registry=registry, clusterwide=True, standalone=True, **options)
    try:
        yield
    finally:
        # Not `kopf.operator`, which ends every task that was started after it: also those of pytest.
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
