"""A real exec plugin of a kubeconfig, against a real API server: as kubectl logs in to EKS or GKE."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
import yaml

from e2e.apiserver.conftest import OPERATOR, Kubectl, Resources
from s3d_operator.access import Access, find_access
from s3d_operator.kube import GATEWAYS, PODS, ApiError, Kube
from s3d_operator.reconcile import Reconciler
from tests.operator.goldens import IMAGE
from tests.operator.kopfs import watching

PLUGIN = """\
import json, os, pathlib, sys
asked = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert asked["kind"] == "ExecCredential", asked
status = {"token": pathlib.Path(sys.argv[1]).read_text()}
print(json.dumps({"apiVersion": asked["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


@pytest.fixture
def token(server: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The token that the plugin of KUBECONFIG gives: the operator's, until a test writes another one."""
    program, token, path = tmp_path / "plugin.py", tmp_path / "token", tmp_path / "kubeconfig"
    program.write_text(PLUGIN)
    token.write_text(OPERATOR)
    version = "client.authentication.k8s.io/v1"
    command = {"command": sys.executable, "args": [str(program), str(token)], "interactiveMode": "Never"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "plugin"}}],
        "clusters": [
            {"name": "here", "cluster": {"server": server.configuration.host, "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "plugin", "user": {"exec": {"apiVersion": version} | command}}],
    }
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return token


def test_kubectl_takes_the_same_kubeconfig(token: Path, operators: Access, kubectl: Kubectl) -> None:
    kubectl.words = kubectl.words[:1]
    assert json.loads(kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"] == "operator"


async def test_the_operator_reconciles_with_an_exec_plugin_and_kopf_watches_with_it(
    token: Path, operators: Access, gateways: Resources
) -> None:
    async with Kube(await find_access(), find_access) as kube:
        reconciler = Reconciler(kube, IMAGE)
        async with watching(reconciler), asyncio.TaskGroup() as tasks, asyncio.timeout(60):
            running = tasks.create_task(reconciler.run())
            await gateways.create("plugin", {"remote": {"credentials": {"anonymous": {}}}})
            while True:
                raw = await kube.get(GATEWAYS, "plugin", "default")
                if raw and "status" in raw and reconciler.gateways.objects:
                    break
            running.cancel()


async def test_the_plugin_is_asked_again_after_the_server_has_refused_its_token(token: Path, operators: Access) -> None:
    await asyncio.to_thread(token.write_text, "nobody's")
    async with Kube(await find_access(), find_access) as kube:
        with pytest.raises(ApiError, match="401"):
            await kube.list(PODS)
        await asyncio.to_thread(token.write_text, OPERATOR)
        assert (await kube.list(PODS))["kind"] == "PodList"
        assert (await kube.list(PODS, only_metadata=True))["kind"] == "PartialObjectMetadataList"
