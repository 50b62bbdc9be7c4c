"""Golden pods: a pod and a gateway, and the patch that makes one of the other; golden jobs that drain a claim.

A file in golden/ holds three documents: the Pod, the S3Gateway's spec, the JSON Patch. One in golden/folders/ has the
specs of SyncFolders by name beside that of the gateway. One in golden/jobs/ holds two: the gateway's spec with how its
last pod ran, and the Job. `python -m tests.operator.goldens` writes patches and jobs anew; a change in one is a change
of what users get.
"""

from pathlib import Path
from typing import Any

import yaml

from s3d_operator.choice import Gateway, Skip, read_gateway
from s3d_operator.drain_job import drain_job
from s3d_operator.folders import Folder, Placed, place, read_folder
from s3d_operator.gateway_status import LastPod
from s3d_operator.inject import patch
from s3d_operator.layout import Image
from s3d_operator.spec import S3GatewaySpec

HERE = Path(__file__).parent / "golden"
JOBS = HERE / "jobs"
FOLDERS = HERE / "folders"
IMAGE = Image("registry.example/s3d:1.2.3")


def gateway(spec: dict[str, Any], name: str = "default", created: str = "2026-01-01T00:00:00Z") -> Gateway:
    """A gateway as the API server would give it."""
    return read_gateway({"metadata": {"name": name, "creationTimestamp": created}, "spec": spec})


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """The pod, the gateway's spec and the patch of a golden file."""
    pod, spec, *operations = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return pod, spec, operations[0] if operations else []


def folder(spec: dict[str, Any], name: str = "docs") -> Folder:
    """A sync folder as the API server would give it."""
    return read_folder({"metadata": {"name": name}, "spec": spec})


def place_golden(pod: dict[str, Any], given: dict[str, Any]) -> tuple[Placed, ...]:
    """The folders of a golden pod."""
    known = [folder(spec, name) for name, spec in given["folders"].items()]
    placed = place(pod, gateway(given["gateway"]), known)
    assert not isinstance(placed, Skip), placed
    return placed


def make(path: Path) -> list[dict[str, Any]]:
    """The patch that is made today for what a golden file gives."""
    pod, given, _ = read(path)
    if path.parent != FOLDERS:
        return patch(pod, gateway(given), IMAGE).operations
    return patch(pod, gateway(given["gateway"]), IMAGE, place_golden(pod, given)).operations


def write(path: Path) -> None:
    """Write the patch that is made today into a golden file."""
    given = path.read_text(encoding="utf-8").split("\n--- # the patch\n")[0].rstrip()
    operations = make(path)
    text = yaml.safe_dump(operations, sort_keys=False, width=120)
    path.write_text(f"{given}\n--- # the patch\n{text}", encoding="utf-8")


def read_job(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is given, and the job, of a golden file."""
    given, *made = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return given, made[0] if made else {}


def make_job(given: dict[str, Any]) -> dict[str, Any]:
    """The job that is made today for the claim `queue`."""
    spec, last = S3GatewaySpec.model_validate(given["spec"]), LastPod.model_validate(given["lastPod"])
    known = {"name": "default", "namespace": "shop", "uid": "uid-of-default"}
    return drain_job(spec, known, IMAGE, "queue", last)


def write_job(path: Path) -> None:
    """Write the job that is made today into a golden file."""
    given = path.read_text(encoding="utf-8").split("\n--- # the job\n")[0].rstrip()
    text = yaml.safe_dump(make_job(read_job(path)[0]), sort_keys=False, width=120)
    path.write_text(f"{given}\n--- # the job\n{text}", encoding="utf-8")


if __name__ == "__main__":
    for file in sorted([*HERE.glob("*.yaml"), *FOLDERS.glob("*.yaml")]):
        write(file)
    for file in sorted(JOBS.glob("*.yaml")):
        write_job(file)
