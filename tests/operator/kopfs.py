"""kopf beside a test: it tells a reconciler of what it watches."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kopf
from kopf._cogs.structs.credentials import Vault

from s3d_operator.access import Access
from s3d_operator.reconcile import Reconciler


@asynccontextmanager
async def watching(reconciler: Reconciler, **options: Any) -> AsyncIterator[None]:
    """Let kopf watch for a reconciler."""

    async def find() -> Access:
        return reconciler.kube.access

    registry, vault = reconciler.handlers(find), Vault()
    tasks = await kopf.spawn_tasks(registry=registry, vault=vault, clusterwide=True, standalone=True, **options)
    try:
        yield
    finally:
        # Not `kopf.operator`, which ends every task that was started after it: also those of pytest.
        await end(tasks)
        # What looked which kinds there are is left behind, and has opened sessions after kopf has closed all of them.
        await end([task for task in asyncio.all_tasks() if is_kopfs(task)])
        await vault.close()


async def end(tasks: Collection["asyncio.Task[None]"]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def is_kopfs(task: "asyncio.Task[None]") -> bool:
    """Whether a task runs a function of kopf."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and str(code.co_filename).startswith(str(Path(kopf.__file__).parent))
