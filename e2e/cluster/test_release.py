"""What helm does with the release besides installing it: `helm test`, and `helm uninstall`, which comes last of all."""

import asyncio
import time
from collections.abc import Callable

import pytest

from e2e.cluster import kube
from e2e.cluster.conftest import SYSTEM, Helm
from e2e.cluster.kube import APP, ask, get, kubectl, until, wait
from e2e.cluster.test_delivery import SIZES, objects
from s3d_operator.access import find_access
from s3d_operator.kube import ApiError, Kube
from tests.operator.requests import request
from tests.remotes import Remote

TRIED = f"{SYSTEM}-s3d-test"
"""The namespace of `helm test`."""
BLOCKING = tuple(
    "mutatingwebhookconfigurations validatingwebhookconfigurations"
    " validatingadmissionpolicies validatingadmissionpolicybindings".split()
)
MEANWHILE = ('service "s3d-webhook" not found', "has no container s3d with restartPolicy Always")
"""What a pod that asks is told in that moment; docs/KUBERNETES.md says so."""
PAUSE_SECONDS = 0.05
"""Between two creations."""


@pytest.mark.checklist(60)
def test_helm_test_puts_and_gets_an_object_through_a_sidecar_and_cleans_up(installed: str, helm: Helm) -> None:
    assert "Succeeded" in helm("test", "s3d", "--timeout=3m")
    until(lambda: ask("get", "namespace", TRIED).code != 0, "that what was tried is gone")


async def submit_steadily(namespace: str, ended: asyncio.Event) -> list[tuple[float, str]]:
    """Submit pods that ask for the gateway until told to end, and on until one is let in; when, and what was said."""
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    answers: list[tuple[float, str]] = []
    pod = kube.pod(namespace, "bucket")
    pod["metadata"]["name"] = "submitted"
    async with Kube(await find_access()) as client:
        while not ended.is_set() or answers[-1][1]:
            try:
                await request(client, "POST", path, pod)
                said = ""
            except ApiError as error:
                said = str(error)
            answers.append((time.monotonic(), said))
            await asyncio.sleep(PAUSE_SECONDS)
    return answers


@pytest.mark.checklist(54)
@pytest.mark.checklist(64)
async def test_after_the_uninstallation_nothing_blocks_pods_and_what_is_a_persons_is_still_there(
    gateway: Callable[..., None],
    namespace: str,
    bucket: str,
    remote: Remote,
    helm: Helm,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway()
    kubectl("create", given=kube.pod(namespace, bucket, *map(str, SIZES)))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    until(lambda: len(objects(remote, bucket)) == len(SIZES), "the delivery")
    there = objects(remote, bucket)

    ended = asyncio.Event()
    submitting = asyncio.create_task(submit_steadily(namespace, ended))
    await asyncio.to_thread(helm, "uninstall", "s3d", "--wait")
    ended.set()
    answers = await submitting

    refused = [(at, said) for at, said in answers if said]
    with capsys.disabled():
        over = refused[-1][0] - refused[0][0] if refused else 0
        print(f"\nduring `helm uninstall` {len(refused)} of {len(answers)} pods were refused, within {over:.1f} s")
        for said in sorted({said for _, said in refused}):
            print(f"  {said}")
    # Helm deletes the Service before the configuration that names it, and the policies last.
    assert [said for _, said in refused if not any(known in said for known in MEANWHILE)] == []
    for kind in BLOCKING:
        assert not [name for name in kubectl("get", kind, "-o", "name").split() if "s3d" in name]
    plain = kube.pod(namespace, bucket)
    plain["metadata"]["name"] = "plain"
    kubectl("create", given=plain)
    spec = get("-n", namespace, "pod", "plain")["spec"]
    assert "initContainers" not in spec, "nobody is left who could have given it a gateway"

    (sidecar,) = get("-n", namespace, "pod", APP)["status"]["initContainerStatuses"]
    assert (sidecar["ready"], sidecar["restartCount"]) == (True, 0)
    assert get("-n", namespace, "s3gateway", "default")["spec"]["buckets"] == [{"name": bucket}]
    assert objects(remote, bucket) == there
