"""What the webhook costs the creation of a pod: a thousand with the gateway and a thousand without, in one run.

No node is what the pods ask for, so none starts: what is timed is the API server's answer alone. The times are printed
and judged by nobody, since they are those of the machine; docs/KUBERNETES.md has those of one.
"""

import asyncio
import itertools
import os
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest

from e2e.cluster import kube
from e2e.cluster.kube import Object
from s3d_operator.access import find_access
from s3d_operator.kube import Kube
from tests.operator.requests import request

PODS = 1000
"""Of each kind."""
AT_ONCE = 20
KINDS: dict[str, dict[str, str]] = {"without the gateway": {}, "with it": {"s3d.dev/inject": "true"}}
WORKER = "worker"
"""The label by which each worker knows the pods that it made."""
SECONDS = 120
"""How long one answer may take."""


def never_placed(namespace: str, name: str, labels: dict[str, str]) -> Object:
    """A pod that no node takes."""
    made = kube.pod(namespace, "bucket", labels=labels, nodeSelector={"nowhere": "true"})
    made["metadata"]["name"] = name
    return made


async def create(client: Kube, namespace: str) -> dict[str, list[tuple[float, Object]]]:
    """Create the pods of both kinds in turns, AT_ONCE at a time; by kind the seconds of each creation and the pod."""
    made: dict[str, list[tuple[float, Object]]] = defaultdict(list)
    turns = itertools.product(range(PODS), KINDS)

    async def work(worker: int) -> None:
        for number, kind in turns:
            pod = never_placed(namespace, f"{kind.split()[0]}-{number}", {WORKER: str(worker), **KINDS[kind]})
            start = time.perf_counter()
            created = await request(client, "POST", pods_of(namespace), pod, seconds=SECONDS)
            made[kind].append((time.perf_counter() - start, created))

    async with asyncio.TaskGroup() as workers:
        for worker in range(AT_ONCE):
            workers.create_task(work(worker))
    return made


async def delete(client: Kube, namespace: str) -> None:
    """Delete the pods, without grace, those of each worker beside those of the others."""
    now = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
    async with asyncio.TaskGroup() as tasks:
        for worker in range(AT_ONCE):
            path = f"{pods_of(namespace)}?labelSelector={WORKER}%3D{worker}"
            tasks.create_task(request(client, "DELETE", path, now, seconds=SECONDS))


def pods_of(namespace: str) -> str:
    """The path of a namespace's pods."""
    return f"/api/v1/namespaces/{namespace}/pods"


def table(made: dict[str, list[tuple[float, Object]]], seconds: float) -> str:
    """The times, as docs/KUBERNETES.md shows them."""
    rows = ["| pods | p50 | p99 | slowest |", "|---|---|---|---|"]
    for kind in KINDS:
        times = [1000 * took for took, _ in made[kind]]
        cuts = statistics.quantiles(times, n=100)
        rows.append(f"| {kind} | {cuts[49]:.0f} ms | {cuts[98]:.0f} ms | {max(times):.0f} ms |")
    head = f"{PODS} creations of each kind, {AT_ONCE} at a time, on {os.cpu_count()} cores: {seconds:.0f} s"
    return "\n".join([head, *rows])


async def test_a_thousand_pods_created_20_at_a_time_all_carry_the_sidecar(
    gateway: Callable[..., None], namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway()
    async with Kube(await find_access()) as client:
        start = time.perf_counter()
        try:
            made = await create(client, namespace)
            took = time.perf_counter() - start
        finally:
            await delete(client, namespace)

    with capsys.disabled():
        print(f"\n{table(made, took)}")
    sidecars = {
        kind: Counter(
            [(each["name"], each.get("restartPolicy")) for each in pod["spec"].get("initContainers", [])]
            == [("s3d", "Always")]
            for _, pod in each
        )
        for kind, each in made.items()
    }
    assert sidecars == {"without the gateway": {False: PODS}, "with it": {True: PODS}}
