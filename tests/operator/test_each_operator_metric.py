"""Each metric of the operator tells of something: one that is declared and that nothing sets is seen here."""

import asyncio

from s3d_operator.metrics import Registered
from s3d_operator.reconcile import Reconciler
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually
from tests.operator.rounds import NOW, PODS, pods_door, put_gateway, put_pod, reconciler
from tests.operator.test_pods import injected
from tests.operator.test_webhook import Caller, caller, gateway, gateway_path, pod, review, webhook, written

__all__ = ["caller", "pods_door", "reconciler", "webhook"]


def declared(metrics: Registered) -> set[str]:
    return {family.name for family in metrics.registry.collect()}


def telling(metrics: Registered) -> set[str]:
    """Those that say a number above 0."""
    return {family.name for family in metrics.registry.collect() if any(each.value > 0 for each in family.samples)}


async def test_each_metric_of_the_reconciler_moves(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    assert telling(reconciler.metrics) == set()
    put_gateway(api)
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    moved = telling(reconciler.metrics)
    api.delete(f"{PODS}/shop-1")
    await eventually(lambda: not reconciler.injected.objects)
    # Rounds are counted by what goes round by itself.
    before = reconciler.liveness.round_at
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(reconciler.run())
        await eventually(lambda: reconciler.liveness.round_at != before)
        run.cancel()
    assert moved | telling(reconciler.metrics) == declared(reconciler.metrics)


async def test_each_metric_of_the_webhook_moves(api: ApiServer, caller: Caller) -> None:
    api.put(gateway_path("default"), gateway("default"))
    await caller.ask("pod", pod())
    await caller.post("gateway", written(gateway("default")), "validate")
    folder = {"spec": {"gatewayRef": {"name": "default"}, "bucket": "team", "mountPath": "/data"}}
    kind = {"group": "s3d.dev", "version": "v1alpha1", "kind": "SyncFolder"}
    await caller.post("folder", review(folder, name="docs", kind=kind, oldObject=None), "validate")
    await caller.metrics()
    assert telling(caller.webhook.metrics) == declared(caller.webhook.metrics)
