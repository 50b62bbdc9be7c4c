"""The cluster as tests use it: kubectl, what follows a pod until it is gone, and the objects that they create.

Nothing in here sleeps for something to have happened: the API server waits (`kubectl wait`), or a stream is read
(logs, a watch) until it says what is waited for.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.processes import Program, running, start

Object = dict[str, Any]

REMOTE = "s3d-remote"
"""Namespace of the remote, and the remote's name in it."""
ENDPOINT = f"http://remote.{REMOTE}:9000"
ACCESS_KEY, SECRET_KEY = "versitygw", "versitygwsecret"
APP = "app"
DEFAULTS = {"serviceaccount/default", "configmap/kube-root-ca.crt"}
"""What Kubernetes puts into each namespace."""
WRONG = 3
"""What `s3d status` ends with while something is wrong."""
SECONDS = 90
"""How long anything may take that should not take long."""
MOUNTED_SECONDS = 240
"""How long a change of a Secret or a ConfigMap may take to a pod: the kubelet looks once a minute or so."""


class NotSeen(Exception):
    """What was waited for did not come."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What kubectl said."""

    code: int
    out: str
    err: str


def ask(*words: str, given: Object | None = None) -> Answer:
    """Run kubectl, with an object on its standard input; it may fail."""
    command = ["kubectl", *words, *(["-f", "-"] if given else [])]
    text = json.dumps(given) if given else None
    # What an app prints may be any bytes.
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, errors="replace", check=False, timeout=300
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def kubectl(*words: str, given: Object | None = None) -> str:
    """Run kubectl; its output. It must not fail."""
    answer = ask(*words, given=given)
    assert answer.code == 0, f"kubectl {' '.join(words)}\n{answer.err}"
    return answer.out


def get(*words: str) -> Object:
    """An object as the API server has it."""
    found: Object = json.loads(kubectl("get", *words, "-o", "json"))
    return found


def names(namespace: str, kinds: str) -> set[str]:
    """The objects of some kinds that a namespace holds."""
    return set(kubectl("-n", namespace, "get", kinds, "-o", "name").split())


def wait(namespace: str, what: str, *conditions: str, seconds: int = SECONDS) -> None:
    """Wait until an object is as it should be: `condition=Ready`, `jsonpath=...`."""
    for condition in conditions:
        kubectl("-n", namespace, "wait", what, f"--for={condition}", f"--timeout={seconds}s")


def until(holds: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Ask until the answer is true; the answer. Raises NotSeen."""
    end = time.monotonic() + seconds
    while not (answer := holds()):
        if time.monotonic() > end:
            raise NotSeen(f"{what}: not in {seconds} s")
        time.sleep(0.1)
    return answer


@dataclass(frozen=True, slots=True)
class Stream:
    """Lines that kubectl writes for as long as something goes on."""

    program: Program

    def lines(self) -> list[str]:
        """What came so far, complete lines only."""
        return self.program.output().split("\n")[:-1]

    def wait_for(self, wanted: Callable[[str], Any], what: str, seconds: float = SECONDS) -> str:
        """The first line that is wanted. Raises NotSeen with all that came."""

        def find() -> str | None:
            ended = not self.program.running
            found = next(filter(wanted, self.lines()), None)
            if found is None and ended:
                raise NotSeen(f"{what}: the stream has ended:\n{self.program.output()[-4000:]}")
            return found

        try:
            found: str = until(find, what, seconds)
        except NotSeen as error:
            raise NotSeen(f"{error}\n{self.program.output()[-4000:]}") from None
        return found


@contextmanager
def follow(log: Path, environment: dict[str, str], *words: str) -> Iterator[Stream]:
    """Run kubectl as a stream."""
    with running(start(["kubectl", *words], log, environment)) as program:
        yield Stream(program)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a container's log: when the container runtime got it, and the JSON in it."""

    at: datetime
    said: Object


def read_line(line: str) -> Line:
    """Read a line of `kubectl logs --timestamps` that holds JSON."""
    stamp, _, text = line.partition(" ")
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    at = datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")
    return Line(at, json.loads(text) if text.startswith("{") else {"text": text})


def namespace_object(name: str, **labels: str) -> Object:
    """A namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def secret(namespace: str) -> Object:
    """The keys of the remote."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s3-keys", "namespace": namespace},
        "stringData": {"accessKeyID": ACCESS_KEY, "secretAccessKey": SECRET_KEY},
    }


def gateway(namespace: str, bucket: str, **spec: Any) -> Object:
    """An S3Gateway for one bucket of the remote, for apps without any AWS identity."""
    return {
        "apiVersion": "s3d.dev/v1alpha1",
        "kind": "S3Gateway",
        "metadata": {"name": "default", "namespace": namespace},
        "spec": {
            "remote": {"endpoint": ENDPOINT, "credentials": {"secretRef": {"name": "s3-keys"}}},
            "buckets": [{"name": bucket}],
            "appCredentials": "Dummy",
            **spec,
        },
    }


def sync_folder(namespace: str, bucket: str, name: str = "docs", **spec: Any) -> Object:
    """A SyncFolder of the S3Gateway `default`; its prefix and its directory are called as it is."""
    return {
        "apiVersion": "s3d.dev/v1alpha1",
        "kind": "SyncFolder",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "gatewayRef": {"name": "default"},
            "bucket": bucket,
            "prefix": f"{name}/",
            "mountPath": f"/{name}",
            **spec,
        },
    }


def app_container(*words: str, name: str = APP) -> Object:
    """A container of the test's app."""
    return {"name": name, "image": "s3d-e2e/app:e2e", "imagePullPolicy": "Never", "args": list(words)}


def pod(namespace: str, *words: str, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """A pod of the test's app; it opts in unless `labels` says otherwise."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": APP,
            "namespace": namespace,
            "labels": {"s3d.dev/inject": "true"} if labels is None else labels,
        },
        "spec": {"restartPolicy": "Never", "containers": [app_container(*words)], **spec},
    }


def remote_objects(namespace: str = REMOTE) -> Iterator[Object]:
    """A remote: versitygw, and in front of it a relay that obeys orders."""
    labels = {"app": "remote"}
    image = {"image": "s3d-e2e/remote:e2e", "imagePullPolicy": "Never"}
    store = {
        **image,
        "name": "store",
        "command": ["sh", "-c", 'mkdir -p /data/iam /data/buckets && exec versitygw "$@"', "versitygw"],
        "args": [
            *("--access", ACCESS_KEY, "--secret", SECRET_KEY, "--port", "127.0.0.1:7070", "--region", "us-east-1"),
            *("--iam-dir", "/data/iam", "--keep-alive", "--quiet", "posix", "/data/buckets"),
        ],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    relay = {
        **image,
        "name": "relay",
        "command": ["python3", "-u", "/relay.py", "127.0.0.1:7070"],
        "args": ["--host", "0.0.0.0", "--listen", "9000", "--control", "9001"],
        "ports": [{"containerPort": 9000}],
        "readinessProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 1},
    }
    yield namespace_object(namespace)
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "remote", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [store, relay],
                    "volumes": [{"name": "data", "emptyDir": {}}],
                    "securityContext": {"fsGroup": 1000},
                    "terminationGracePeriodSeconds": 1,
                },
            },
        },
    }
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "remote", "namespace": namespace},
        # A remote that refuses is one whose address is known and where nobody answers.
        "spec": {"selector": labels, "ports": [{"port": 9000}], "publishNotReadyAddresses": True},
    }


def pending(namespace: str) -> Object:
    """What the sidecar of the test's pod says is pending, whether or not something is wrong."""
    said = ask("-n", namespace, "exec", APP, "-c", "s3d", "--", "s3d", "status", "--json")
    assert said.code in (0, WRONG), said.err
    counts: Object = json.loads(said.out)["pending"]
    return counts


def diagnosis(*namespaces: str) -> str:
    """What a person would look at first."""
    parts = []
    for namespace in namespaces:
        for words in (
            ["get", "pods", "-o", "wide"],
            ["get", "s3gateways", "-o", "wide"],
            ["get", "syncfolders", "-o", "wide"],
            ["get", "events", "--sort-by=.lastTimestamp"],
            ["describe", "pods"],
            ["logs", "--all-containers", "--prefix", "--tail=40", "--ignore-errors", "-l", "!nothing"],
        ):
            answer = ask("-n", namespace, *words)
            parts.append(f"$ kubectl -n {namespace} {' '.join(words)}\n{answer.out}{answer.err}")
    return "\n".join(parts)
