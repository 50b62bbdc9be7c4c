"""What end-to-end tests get: the real remotes and the real daemon of the tests, and a Kubernetes cluster."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import daemon, start_daemon
from tests.remotes import bucket, cache_dir, minio, moto, remote, versitygw

__all__ = ["bucket", "daemon", "minio", "moto", "remote", "start_daemon", "versitygw"]

CANNOT = 3
"""Exit code of a script of e2e/cluster where the machine cannot have what it builds."""


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """The kubeconfig of the cluster that e2e/cluster/up.sh makes, or of $KUBECONFIG; skips where there can be none.

    A cluster that was not there before is not there afterwards, unless S3D_E2E_KEEP says so.
    """
    given = os.environ.get("KUBECONFIG")
    was_there = given or (cache_dir() / f"kubeconfig-{os.environ.get('KIND_CLUSTER', 's3d')}").exists()
    scripts = Path(__file__).parent / "cluster"
    for command in (["tools.sh", "helm", "kubeconform"], *([] if given else [["up.sh"]])):
        made = subprocess.run([scripts / command[0], *command[1:]], capture_output=True, text=True, check=False)
        if made.returncode == CANNOT:
            pytest.skip(f"no cluster here: {made.stderr.strip().splitlines()[-1]}")
        assert made.returncode == 0, made.stderr
    path = Path(given or made.stdout.strip().splitlines()[-1])
    programs = ":".join(map(str, [cache_dir() / "bin", *cache_dir().glob("node-*/bin")]))
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    os.environ["KUBECONFIG"] = str(path)
    yield path
    if not was_there and not os.environ.get("S3D_E2E_KEEP"):
        subprocess.run([scripts / "down.sh"], capture_output=True, check=True)
