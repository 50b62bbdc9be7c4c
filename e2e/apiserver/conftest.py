"""etcd and kube-apiserver, those of the cluster's node, alone on loopback: no kubelet, no controllers, a few seconds.

Skipped where the machine cannot have the two programs; e2e/cluster/node-binaries.sh builds them.
"""

import contextlib
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kubernetes.aio.client import Configuration

from e2e.cluster.kube import until
from s3d_operator.access import Access
from s3d_operator.crd import s3gateway, sync_folder
from s3d_operator.kube import ApiError, Kube
from tests.operator.requests import request
from tests.processes import free_port, running, start, wait_for_http
from tests.remotes import cache_dir

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "charts/s3d"
TOKEN, OPERATOR = "admin-of-the-tests", "operator-of-the-tests"
GATEWAYS = "/apis/s3d.dev/v1alpha1/namespaces/default/s3gateways"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test in this folder needs programs of the cluster."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """An API server with our definitions in it."""
    found = sorted(cache_dir().glob("node-v*/bin/kube-apiserver"))
    if not found or not found[-1].with_name("etcd").exists():
        pytest.skip("no kube-apiserver here; e2e/cluster/node-binaries.sh builds it")
    programs, directory = found[-1].parent, tmp_path_factory.mktemp("apiserver")
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (directory / "accounts.key").write_bytes(key)
    (directory / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n{OPERATOR},operator,2\n')
    client, peer, port = (f"127.0.0.1:{free_port()}" for _ in range(3))
    store: list[str | Path] = [programs / "etcd", "--data-dir", directory / "etcd", "--unsafe-no-fsync"]
    store += [f"--{kind}-client-urls=http://{client}" for kind in ("listen", "advertise")]
    store += [f"--listen-peer-urls=http://{peer}", f"--initial-advertise-peer-urls=http://{peer}"]
    store += [f"--initial-cluster=default=http://{peer}"]
    api: list[str | Path] = [
        programs / "kube-apiserver",
        f"--etcd-servers=http://{client}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port.rpartition(':')[2]}",
        f"--cert-dir={directory}",
        f"--token-auth-file={directory}/tokens.csv",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://tests",
        f"--service-account-key-file={directory}/accounts.key",
        f"--service-account-signing-key-file={directory}/accounts.key",
        "--disable-admission-plugins=ServiceAccount",
    ]
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(running(start(store, directory / "etcd.log", {})))
        wait_for_http(etcd, f"http://{client}/health", status=200)
        program = stack.enter_context(running(start(api, directory / "apiserver.log", {})))
        server = access_of(f"https://{port}", TOKEN)
        kubectl = Kubectl(programs / "kubectl", server)
        kubectl.until_ready(program)
        for definition in (s3gateway(), sync_folder()):
            kubectl("apply", "--server-side", given=definition)
            name = definition["metadata"]["name"]
            kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=60s")
        yield server


def access_of(url: str, token: str) -> Access:
    """The access that a token gives to a server of our own on loopback."""
    return Access(Configuration(host=url, api_key={"BearerToken": f"Bearer {token}"}, verify_ssl=False))


def trusting_nobody() -> ssl.SSLContext:
    """A context for a server of our own on loopback."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Kubectl:
    """kubectl, as the administrator."""

    def __init__(self, program: Path, server: Access) -> None:
        self.words = [
            str(program),
            f"--server={server.configuration.host}",
            f"--token={TOKEN}",
            "--insecure-skip-tls-verify",
        ]

    def run(self, *words: str, given: Any = None) -> subprocess.CompletedProcess[str]:
        """Run it, with an object on its standard input; it may fail."""
        command = [*self.words, *words, *(["-f", "-"] if given else [])]
        text = yaml.safe_dump(given) if given else None
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)

    def __call__(self, *words: str, given: Any = None) -> str:
        """Its output; it must not fail."""
        done = self.run(*words, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def until_ready(self, program: Any) -> None:
        """Wait until the server answers."""
        while self.run("get", "--raw", "/readyz").returncode or self.run("get", "namespace", "default").returncode:
            assert program.running, program.output()[-4000:]

    def until_allowed(self, verb: str, what: str, *words: str, allowed: bool = True) -> None:
        """Wait until the operator may do something, or may not any more: a binding is in force a moment after it is
        written."""
        ask = ("auth", "can-i", verb, what, "--as=operator", *words)
        until(lambda: (self.run(*ask).returncode == 0) is allowed, f"{verb} of {what}: {allowed}")


@pytest.fixture
def kubectl(server: Access) -> Kubectl:
    """The program, for this API server."""
    return Kubectl(max(cache_dir().glob("node-v*/bin/kubectl")), server)


@pytest.fixture(scope="session")
def operators(server: Access) -> Access:
    """The same API server, for somebody who may what the chart lets the operator do cluster-wide."""
    role = of_chart("ClusterRole", "s3d-operator")
    # By a name of its own: other tests install the chart, and take it away.
    role["metadata"]["name"] = "operator"
    kubectl = Kubectl(max(cache_dir().glob("node-v*/bin/kubectl")), server)
    kubectl("apply", given=role)
    kubectl("create", "clusterrolebinding", "operator", "--clusterrole=operator", "--user=operator")
    kubectl.until_allowed("list", "pods", "--all-namespaces")
    return access_of(server.configuration.host, OPERATOR)


def of_chart(kind: str, name: str, *values: str) -> dict[str, Any]:
    """An object of the chart."""
    helm = shutil.which("helm", path=f"{cache_dir() / 'bin'}:{os.environ['PATH']}")
    if not helm:
        pytest.skip("no helm here; e2e/cluster/tools.sh helm builds it")
    words = [helm, "template", "s3d", str(CHART), "--namespace", "s3d-system", "--kube-version", "1.31.0"]
    sets = [word for value in values for word in ("--set-json", value)]
    rendered = subprocess.run([*words, *sets], capture_output=True, text=True, check=True).stdout
    (found,) = (
        raw for raw in yaml.safe_load_all(rendered) if raw and (raw["kind"], raw["metadata"]["name"]) == (kind, name)
    )
    return found  # type: ignore[no-any-return]


@pytest.fixture
async def kube(server: Access) -> AsyncIterator[Kube]:
    """Our own client of it."""
    async with Kube(server) as kube:
        yield kube


class Resources:
    """What the namespace `default` has of one of our kinds."""

    def __init__(self, kube: Kube, kind: str, path: str) -> None:
        self.kube = kube
        self.kind = kind
        self.path = path

    async def create(self, name: str, spec: dict[str, Any], *, dry: bool = False) -> dict[str, Any]:
        """Create one, as strictly as kubectl does."""
        raw = {"apiVersion": "s3d.dev/v1alpha1", "kind": self.kind, "metadata": {"name": name}, "spec": spec}
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry else "")
        return await request(self.kube, "POST", self.path + query, raw)

    async def refusal(self, name: str, spec: dict[str, Any]) -> str:
        """Why the API server refuses one."""
        with pytest.raises(ApiError) as refused:
            await self.create(name, spec, dry=True)
        return str(refused.value)


@contextlib.asynccontextmanager
async def resources(kube: Kube, kind: str, path: str) -> AsyncIterator[Resources]:
    """Those of a kind; none is left."""
    yield Resources(kube, kind, path)
    with contextlib.suppress(aiohttp.ClientError):
        await request(kube, "DELETE", path)


@pytest.fixture
async def gateways(kube: Kube) -> AsyncIterator[Resources]:
    """The S3Gateways."""
    async with resources(kube, "S3Gateway", GATEWAYS) as found:
        yield found
