"""Pods that are created while certificates are replaced, and while replicas of the webhook die without a word."""

import asyncio
import base64
import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator

import pytest

from e2e.cluster import kube
from e2e.cluster.conftest import SYSTEM
from e2e.cluster.kube import Object, get, kubectl, until
from s3d_operator.access import find_access
from s3d_operator.kube import ApiError, Kube
from tests.operator.requests import request

PODS = 200
AT_ONCE = 4
RETRY_SECONDS = 0.2
# Due two seconds after it was made, and what replaced it is let sink in for two: one in half a minute.
RESTLESS = ("--certificate-lifetime=86400", "--certificate-renew-before=86398", "--certificate-settle=2")
REPLACED = 2
WEBHOOKS = "app.kubernetes.io/component=webhook"


@pytest.fixture
def restless(installed: str) -> Iterator[None]:
    """The operator replaces the certificate again and again; what it has then is as good as what it had before."""
    arguments = [{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": each} for each in RESTLESS]
    deployment = ("-n", SYSTEM, "patch", "deployment", "s3d-operator", "--type=json", "-p")
    kubectl(*deployment, json.dumps(arguments))
    yield
    kubectl("-n", SYSTEM, "rollout", "undo", "deployment/s3d-operator")
    kubectl("-n", SYSTEM, "rollout", "status", "deployment/s3d-operator", "--timeout=90s")


class Creator:
    """Somebody who creates pods for which there is no node: several at a time, as long as something goes on."""

    def __init__(self, api: Kube, namespace: str) -> None:
        self.api, self.namespace = api, namespace
        self.created, self.tried = 0, 0
        self.refused: list[str] = []

    async def create(self, count: int, during: Awaitable[object], *, refused: bool = False) -> None:
        """Create `count` pods, and try more until something is over. A refusal is an error, or tried again.

        Each answer shows the pod as it was admitted, so that a missed one is seen at once, also a tried one.
        """
        goal, going_on = self.created + count, asyncio.ensure_future(during)

        async def work() -> None:
            while self.created < goal or not going_on.done():
                dry = self.created >= goal
                name = f"pod-{self.created}"
                self.created += not dry
                while not await self.submit(name, dry=dry, refused=refused):
                    pass

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())
        await going_on

    async def submit(self, name: str, *, dry: bool, refused: bool) -> bool:
        """Submit a pod once; whether it was admitted. A refusal takes a little longer, as with a controller."""
        pod = kube.pod(self.namespace, "bucket", nodeSelector={"nowhere": "true"})
        pod["metadata"]["name"] = name
        path = f"/api/v1/namespaces/{self.namespace}/pods{'?dryRun=All' if dry else ''}"
        self.tried += dry
        try:
            made = await request(self.api, "POST", path, pod)
        except ApiError as error:
            if not refused or 'failed calling webhook "pod.inject.s3d.dev"' not in str(error):
                raise
            self.refused.append(name)
            await asyncio.sleep(RETRY_SECONDS)
            return False
        assert [each["name"] for each in made["spec"]["initContainers"]] == ["s3d"]
        return True

    async def check(self) -> None:
        """Every one of the pods is there, with its sidecar."""
        made = (await request(self.api, "GET", f"/api/v1/namespaces/{self.namespace}/pods"))["items"]
        assert len(made) == PODS
        assert all(pod["spec"]["initContainers"][0]["name"] == "s3d" for pod in made)


async def api_of() -> Kube:
    """A client of the cluster: a kubectl for each of hundreds of pods would be most of the work."""
    return Kube(await find_access())


async def replaced(times: int) -> None:
    """Wait until another certificate was served for so many times."""
    leaves: set[bytes] = set()
    async with asyncio.timeout(600):
        while len(leaves) <= times:
            secret = await asyncio.to_thread(get, "-n", SYSTEM, "secret", "s3d-webhook-tls")
            leaves.add(base64.b64decode(secret["data"]["tls.crt"]))
            await asyncio.sleep(1)


@pytest.mark.checklist(1)
@pytest.mark.checklist(23)
async def test_while_certificates_are_replaced_no_pod_is_missed_and_none_refused(
    gateway: Callable[..., None], restless: None, namespace: str
) -> None:
    gateway()
    async with await api_of() as api:
        creator = Creator(api, namespace)
        await creator.create(PODS, replaced(REPLACED))
        await creator.check()


def kill_pod(pod: Object) -> None:
    """Take a pod away without grace, as somebody does who wants to be rid of it."""
    kubectl("-n", SYSTEM, "delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")


def kill_process(pod: Object) -> None:
    """Kill the process in its container, as a kernel does that is out of memory."""
    (status,) = pod["status"]["containerStatuses"]
    identifier = status["containerID"].removeprefix("containerd://")
    words = ("ctr", "--namespace", "k8s.io", "task", "kill", "--signal", "SIGKILL", identifier)
    subprocess.run(["docker", "exec", pod["spec"]["nodeName"], *words], check=True, capture_output=True, timeout=60)


KILLS = (kill_process, kill_pod) * 2


@pytest.mark.checklist(1)
async def test_while_replicas_are_killed_no_pod_is_missed_and_one_that_is_refused_is_created_when_it_is_tried_again(
    gateway: Callable[..., None], namespace: str
) -> None:
    """Who dies under a review answers nobody. The API server does not ask another one, so the pod is refused: for a
    controller that is a failure like any other, and it tries again."""
    gateway()
    async with await api_of() as api:
        creator = Creator(api, namespace)
        kubectl("-n", SYSTEM, "rollout", "status", "deployment/s3d-webhook", "--timeout=90s")
        for kill in KILLS:
            await creator.create(PODS // len(KILLS), asyncio.to_thread(killed, kill), refused=True)
        await creator.check()
    print(f"of {creator.created + creator.tried} creations {len(creator.refused)} were refused and tried again")


def killed(kill: Callable[[Object], None]) -> None:
    """Kill the replica that has died least often, and wait until two are ready again."""
    before = replicas()
    kill(min(before.values(), key=lambda pod: (pod["status"]["containerStatuses"][0]["restartCount"], name_of(pod))))
    until(lambda: len(replicas()) == len(before) and replicas().keys() != before.keys(), "a replica in its place")


def replicas() -> dict[tuple[str, int], Object]:
    """The replicas that are ready, by what tells one that was started again from what it was."""
    pods = get("-n", SYSTEM, "pods", "-l", WEBHOOKS)["items"]
    found = [(status, pod) for pod in pods for status in pod["status"].get("containerStatuses", [])]
    return {(name_of(pod), status["restartCount"]): pod for status, pod in found if status["ready"]}


def name_of(pod: Object) -> str:
    """The name of a pod."""
    name: str = pod["metadata"]["name"]
    return name
