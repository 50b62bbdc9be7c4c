"""The cluster with s3d in it: images of this working copy, the chart, a remote, and a namespace for each test.

S3D_E2E_KEEP=1 leaves everything as it is at the end, for a look at it.
"""

import fcntl
import os
import secrets
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from e2e.cluster import kube
from e2e.cluster.kube import ACCESS_KEY, REMOTE, SECRET_KEY, Stream, ask, follow, kubectl, until, wait
from e2e.conftest import CANNOT
from tests.relays import Relayed
from tests.remotes import Remote, cache_dir

SYSTEM = "s3d-system"
SCRIPTS = Path(__file__).parent
CHART = SCRIPTS.parents[1] / "charts/s3d"
KEEP = bool(os.environ.get("S3D_E2E_KEEP"))
IMAGES = ("--set=operator.image=s3d-e2e/operator:e2e", "--set=sidecar.image=s3d-e2e/sidecar:e2e")
PLACES = {"test_upgrade": -1, "test_release": 1}
"""What the others use is what the upgrade leads to; after the uninstallation nobody uses anything."""

Helm = Callable[..., str]
Follow = Callable[..., AbstractContextManager[Stream]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test in this folder needs the cluster, and may be the one that builds it. What has a place gets it."""
    places = [place for place, item in enumerate(items) if SCRIPTS in item.path.parents]
    in_order = sorted((items[place] for place in places), key=lambda item: PLACES.get(item.path.stem, 0))
    for place, item in zip(places, in_order, strict=True):
        item.add_marker("cluster")
        item.add_marker(pytest.mark.timeout(1500))
        items[place] = item


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the cluster looks like where a test fails."""
    report = yield
    if report.failed and SCRIPTS in item.path.parents:
        namespace = getattr(item, "funcargs", {}).get("namespace")
        report.sections.append(("the cluster", kube.diagnosis(*filter(None, [namespace, SYSTEM, REMOTE]))))
    return report


def run(*words: str | Path) -> str:
    """Run a program that must succeed; its output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def delete(namespace: str, *options: str) -> None:
    """Delete a namespace, if it is there or still going, and wait until it has gone."""
    kubectl("delete", "namespace", namespace, "--ignore-not-found", *options)


@pytest.fixture(scope="session")
def cluster(kubeconfig: Path) -> Iterator[Path]:
    """The cluster, for this session alone, with the images in it; its kubeconfig."""
    with (cache_dir() / f"session-{kubeconfig.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = subprocess.run([SCRIPTS / "images.sh"], capture_output=True, text=True, check=False)
        if made.returncode == CANNOT:
            pytest.skip(f"no images here: {made.stderr.strip().splitlines()[-1]}")
        assert made.returncode == 0, made.stderr
        yield kubeconfig


@pytest.fixture(scope="session")
def helm(cluster: Path) -> Iterator[Helm]:
    """Helm in the release's namespace, where nothing of an earlier session is left."""
    helm = partial(run, "helm", "--namespace", SYSTEM)
    helm("uninstall", "s3d", "--ignore-not-found", "--wait")
    delete(SYSTEM)
    yield helm
    if not KEEP:
        helm("uninstall", "s3d", "--ignore-not-found", "--wait")
        delete(SYSTEM, "--wait=false")


@pytest.fixture(scope="session")
def installed(helm: Helm) -> str:
    """s3d, by the chart of this working copy and ready; what helm told the person who did it.

    Where an earlier release is there it is upgraded, as docs/KUBERNETES.md says.
    """
    upgrade = ("upgrade", "s3d", CHART, "--reset-then-reuse-values")
    return helm(*upgrade, *IMAGES, "--install", "--create-namespace", "--wait", "--timeout=3m")


@pytest.fixture(scope="session")
def following(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Follow:
    """Run kubectl as a stream of lines."""
    directory = tmp_path_factory.mktemp("kubectl")

    def start(*words: str) -> AbstractContextManager[Stream]:
        return follow(directory / secrets.token_hex(4), {"KUBECONFIG": str(cluster)}, *words)

    return start


@pytest.fixture(scope="session")
def far(following: Follow) -> Iterator[Relayed]:
    """The remote in the cluster: past its relay for the tests, behind it for everyone else."""
    delete(REMOTE)
    for given in kube.remote_objects():
        kubectl("apply", given=given)
    kubectl("-n", REMOTE, "rollout", "status", "deployment/remote", f"--timeout={kube.SECONDS}s")
    with following("-n", REMOTE, "port-forward", "deployment/remote", ":7070", ":9001") as forwards:
        ports = {}
        for port in ("7070", "9001"):
            said = forwards.wait_for(lambda line: line.endswith(f"-> {port}"), f"port {port}")  # noqa: B023
            ports[port] = int(said.split(" -> ")[0].rpartition(":")[2])
        endpoint = f"http://127.0.0.1:{ports['7070']}"
        yield Relayed(
            Remote("versitygw", endpoint, ACCESS_KEY, SECRET_KEY, forwards.program), ports["9001"], forwards.program
        )
    if not KEEP:
        delete(REMOTE, "--wait=false")


@pytest.fixture
def relay(far: Relayed) -> Iterator[Relayed]:
    """The relay in front of the remote, passing everything to begin with."""
    far.set(mode="pass", delay=0.0, bandwidth=0)
    yield far
    far.set(mode="pass", delay=0.0, bandwidth=0)


@pytest.fixture
def remote(relay: Relayed) -> Remote:
    """The remote itself, past its relay."""
    return relay.remote


@contextmanager
def new_namespace() -> Iterator[str]:
    """A namespace with the remote's keys in it, for a while."""
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", given=kube.namespace_object(name))
    # Controllers make them a moment later, and no pod is admitted without the account.
    until(lambda: kube.names(name, "serviceaccounts,configmaps") >= kube.DEFAULTS, "what each namespace has")
    kubectl("create", given=kube.secret(name))
    yield name
    if not KEEP:
        # Without grace: what a failed test left waiting is of no use to anyone.
        ask("-n", name, "delete", "pods", "--all", "--force", "--grace-period=0")
        delete(name, "--wait=false")


@pytest.fixture
def namespace(installed: str) -> Iterator[str]:
    """A new namespace with the remote's keys in it."""
    with new_namespace() as name:
        yield name


@pytest.fixture
def gateway(namespace: str, bucket: str) -> Callable[..., None]:
    """Create the S3Gateway `default` for the bucket, and wait until it is accepted."""

    def create(**spec: object) -> None:
        kubectl("create", given=kube.gateway(namespace, bucket, **spec))
        wait(namespace, "s3gateway/default", "condition=Accepted")

    return create


@pytest.fixture
def followed(namespace: str, following: Follow) -> Iterator[Callable[[], tuple[Stream, Stream, Stream]]]:
    """Follow the pod, which runs, from now on until it is gone: its app's log, its sidecar's log, its changes."""
    with ExitStack() as streams:

        def open_streams() -> tuple[Stream, Stream, Stream]:
            logs = ("-n", namespace, "logs", kube.APP, "--follow", "--timestamps")
            watch = f"/api/v1/namespaces/{namespace}/pods?watch=1&fieldSelector=metadata.name%3D{kube.APP}"
            app, sidecar, changes = (
                streams.enter_context(following(*words))
                for words in ([*logs, "-c", kube.APP], [*logs, "-c", "s3d"], ["get", "--raw", watch])
            )
            # What a stream missed because it began too late never comes.
            for stream, what in ((sidecar, "the sidecar's log"), (changes, "the watch of the pod")):
                stream.wait_for(lambda _: True, what)
            return app, sidecar, changes

        yield open_streams
