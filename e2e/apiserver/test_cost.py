"""What the operator's two processes cost: their resident memory, and what the webhook adds to the creation of a pod.

Both processes run as the image runs them, against a real API server. The pods are dry runs, so that the answers are
timed and no store. The figures are printed and judged by nobody, since they are those of the machine;
docs/BENCHMARKS.md has those of one.
"""

import asyncio
import itertools
import os
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from e2e.apiserver.conftest import TOKEN, trusting_nobody
from e2e.apiserver.test_webhook_rotation import Stage, is_admitted, place, pod, stage
from s3d_operator.access import Access
from tests.processes import Program, free_port, running, start, wait_for_http

__all__ = ["place", "stage"]
PODS = 1000
"""Of each kind."""
AT_ONCE = 20
KINDS: dict[str, dict[str, str]] = {"without the gateway": {}, "with it": {"s3d.dev/inject": "true"}}


def kubeconfig(directory: Path, url: str) -> Path:
    """A kubeconfig of the administrator."""
    path = directory / "kubeconfig"
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
        "clusters": [{"name": "here", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def memory(program: Program) -> str:
    """Resident memory of a process now, and the most that it had."""
    status = Path(f"/proc/{program.pid}/status").read_text(encoding="utf-8")
    now, most = (int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
    return f"{now:.1f} MB, at most {most:.1f} MB"


def processor_seconds(program: Program) -> float:
    """How much of a processor a process has used: unlike the time by the clock, the same on a busy machine."""
    fields = Path(f"/proc/{program.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def create(url: str) -> dict[str, list[tuple[float, dict[str, Any]]]]:
    """Create the pods of both kinds in turns, AT_ONCE at a time; by kind the seconds of each creation and the pod."""
    made: dict[str, list[tuple[float, dict[str, Any]]]] = defaultdict(list)
    turns = itertools.product(range(PODS), KINDS)
    path = f"{url}/api/v1/namespaces/asking/pods?dryRun=All"

    async def work() -> None:
        for _, kind in turns:
            begin = time.perf_counter()
            async with session.post(path, json=pod({}, KINDS[kind])) as response:
                created = await response.json()
            assert response.status == 201, created
            made[kind].append((time.perf_counter() - begin, created))

    headers, connector = {"Authorization": f"Bearer {TOKEN}"}, aiohttp.TCPConnector(ssl=trusting_nobody())
    # Not our own client: what it costs is not what is timed.
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session, asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(work())
    return made


def table(made: dict[str, list[tuple[float, dict[str, Any]]]], seconds: float) -> str:
    """The times, as docs/BENCHMARKS.md shows them."""
    rows = ["| pods | p50 | p99 | slowest |", "|---|---|---|---|"]
    for kind in KINDS:
        times = [1000 * took for took, _ in made[kind]]
        cuts = statistics.quantiles(times, n=100)
        rows.append(f"| {kind} | {cuts[49]:.1f} ms | {cuts[98]:.0f} ms | {max(times):.0f} ms |")
    head = f"{PODS} creations of each kind, {AT_ONCE} at a time, on {os.cpu_count()} cores: {seconds:.1f} s"
    return "\n".join([head, *rows])


@pytest.mark.timeout(900)
async def test_a_thousand_admissions_and_the_memory_of_both_processes(
    stage: Stage, server: Access, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.configuration.host
    environment = {"KUBECONFIG": str(kubeconfig(tmp_path, url))}
    common = ["--namespace=s3d-system", "--image=s3d:1"]
    metrics, ready = free_port(), free_port()
    webhook = [sys.executable, "-m", "s3d_operator", "webhook", *common, f"--health-port={ready}"]
    reconcile = [
        sys.executable,
        "-m",
        "s3d_operator",
        "reconcile",
        *common,
        f"--health-port={metrics}",
        f"--liveness-port={free_port()}",
    ]
    port = free_port()
    stage.ports = dict.fromkeys(stage.ports, port)
    await asyncio.to_thread(stage.configure)
    with ExitStack() as stack:
        operator = stack.enter_context(running(start(reconcile, tmp_path / "operator.log", environment)))
        replica = stack.enter_context(
            running(start([*webhook, f"--port={port}"], tmp_path / "webhook.log", environment))
        )
        await asyncio.to_thread(wait_for_http, replica, f"http://127.0.0.1:{ready}/readyz", status=200)
        async with asyncio.timeout(300):
            while not await is_admitted(stage, "asking"):
                assert operator.running, operator.output()
        idle, used = memory(replica), processor_seconds(replica)
        begin = time.perf_counter()
        made = await create(url)
        took = time.perf_counter() - begin
        with capsys.disabled():
            print(f"\n{table(made, took)}")
            used = processor_seconds(replica) - used
            print(f"webhook: {idle} before, {memory(replica)} after, {used:.1f} s of a processor")
            print(f"operator: {memory(operator)}")
    sidecars = {
        kind: Counter([each["name"] for each in raw["spec"].get("initContainers", [])] == ["s3d"] for _, raw in each)
        for kind, each in made.items()
    }
    assert sidecars == {"without the gateway": {False: PODS}, "with it": {True: PODS}}
