"""Who may use the gateway of a pod: keys, TLS and identities of Secrets, as a real kubelet mounts and changes them."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.chaos.authorities import Authority
from e2e.cluster import kube
from e2e.cluster.kube import APP, Object, Stream, kubectl, until, wait
from e2e.cluster.test_delivery import SIZES, condition, digests, objects, says
from e2e.cluster.test_who_is_injected import RESTRICTED
from s3d_operator import mounted
from tests.remotes import Remote
from tests.sidecar.layers.test_identities_at_a_store import account, allow

Gateway = Callable[..., None]
Followed = Callable[[], tuple[Stream, Stream, Stream]]
GROUP = 2000
"""An fsGroup of a pod."""
FILES = (
    f"{mounted.KEYS_DIR}/{mounted.KEYS_FILE}",
    f"{mounted.TLS_DIR}/tls.key",
    f"{mounted.IDENTITIES_DIR}/{mounted.IDENTITIES_FILE}",
)
"""What is for the sidecar alone."""
ASK = """
import json, ssl, sys
import boto3
from botocore import UNSIGNED
from botocore.client import Config
from botocore.exceptions import ClientError

def ask(keys, method, members):
    own = dict(zip(("aws_access_key_id", "aws_secret_access_key"), keys or ()))
    config = Config(signature_version=UNSIGNED) if keys == [] else None
    try:
        getattr(boto3.client("s3", config=config, **own), method)(**members)
        return "OK"
    except ClientError as error:
        return error.response["Error"]["Code"]

print(json.dumps([ask(*each) for each in json.loads(sys.argv[1])]))
"""
SERVED = "import ssl; print(ssl.get_server_certificate(('127.0.0.1', 33333)))"

Question = tuple[list[str] | None, str, dict[str, str]]


def run_in_app(namespace: str, script: str, *words: str) -> str:
    """Run Python in the container of the app; its output."""
    return kubectl("-n", namespace, "exec", APP, "-c", APP, "--", "/opt/app/bin/python", "-c", script, *words)


def ask(namespace: str, *questions: Question) -> list[str]:
    """Ask the gateway out of the app's container, by stock boto3; for each question OK or the code of the error.

    A question is asked with two keys, unsigned ([]), or with what boto3 finds by itself (None).
    """
    answers: list[str] = json.loads(run_in_app(namespace, ASK, json.dumps(questions)))
    return answers


def secret(namespace: str, name: str, kind: str = "Opaque", **data: str) -> Object:
    """A Secret."""
    head = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
    return {**head, "type": kind, "stringData": {key.replace("_", "."): text for key, text in data.items()}}


def start(namespace: str, bucket: str, *words: str, **spec: Any) -> None:
    """Create the pod of the test under pod security *restricted*, and wait until it is ready."""
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    made = kube.pod(namespace, bucket, *words, terminationGracePeriodSeconds=1, **spec)
    made["spec"]["containers"][0]["securityContext"] = RESTRICTED
    kubectl("create", given=made)
    wait(namespace, f"pod/{APP}", "condition=Ready")


def test_an_app_works_with_the_key_that_was_made_for_it_and_nobody_without_it(
    gateway: Gateway, namespace: str, bucket: str, remote: Remote, followed: Followed
) -> None:
    gateway(appCredentials="Generated")
    start(namespace, bucket, *map(str, SIZES))
    app, _, _ = followed()
    app.wait_for(says("done"), "all writes")
    put = ("put_object", {"Bucket": bucket, "Key": "other"})
    shown = run_in_app(namespace, "import os; print(open(os.environ['AWS_SHARED_CREDENTIALS_FILE']).read())")
    made = shown.split("aws_access_key_id = ")[1].split()[0]

    assert ask(namespace, (None, *put), ([], *put), (["dummy", "dummy"], *put), ([made, "wrong-secret"], *put)) == [
        "OK",
        "AccessDenied",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
    ]
    assert kubectl("-n", namespace, "exec", APP, "-c", "s3d", "--", "s3d", "ls", bucket)
    until(lambda: kube.pending(namespace)["changes"] == 0, "the delivery")
    delivered = objects(remote, bucket)
    assert delivered.pop("other")
    assert delivered == digests(app)


class Door:
    """The Secrets of a gateway: a certificate, access keys, and the accounts of the remote that they stand for."""

    def __init__(self, namespace: str, bucket: str, remote: Remote, directory: Path) -> None:
        self.namespace = namespace
        self.authority = Authority(directory / "authority")
        self.a, self.b = (account(remote, f"{name}-{secrets.token_hex(4)}") for name in ("a", "b"))
        allow(remote, bucket, self.a["accessKeyID"], self.b["accessKeyID"])

    def give(self, *, days: int, secret_of_a: str, identities: list[dict[str, str]]) -> str:
        """Create or replace all three; the certificate."""
        certificate, key = (Path(path).read_text() for path in self.authority.certify(days=days))
        tls = {"tls_crt": certificate, "tls_key": key, "ca_crt": self.authority.bundle.read_text()}
        keys = [
            {"id": "door-a", "secret": secret_of_a, "identity": self.a["name"]},
            {"id": "door-b", "secret": "secret-of-door-b", "identity": self.b["name"]},
        ]
        for made in (
            secret(self.namespace, "door-tls", "kubernetes.io/tls", **tls),
            secret(self.namespace, "door-keys", keys_json=json.dumps(keys)),
            secret(self.namespace, "accounts", identities_json=json.dumps(identities)),
        ):
            kubectl("apply", given=made)
        return certificate

    def spec(self) -> Object:
        """The gateway that they are for."""
        credentials = {"secretRef": {"name": "s3-keys"}}
        identities = {"secretRef": {"name": "accounts"}}
        return {
            "remote": {"endpoint": kube.ENDPOINT, "credentials": credentials, "identities": identities},
            "access": {"keysSecretRef": {"name": "door-keys"}},
            "tls": {"secretName": "door-tls"},
            "appCredentials": "Generated",
        }


@pytest.fixture
def door(namespace: str, bucket: str, remote: Remote, tmp_path: Path) -> Door:
    """Two accounts of the remote, of which one may do everything in the bucket; no Secret yet."""
    return Door(namespace, bucket, remote, tmp_path)


def look_at_pod(namespace: str) -> None:
    """Have the kubelet look at what it mounts into the pod now, as it does once a minute or so: its pod has changed.

    Where it has not heard of the change itself by then, it is the next look that finds it.
    """
    kubectl("-n", namespace, "annotate", "pod", APP, f"e2e/nudge={secrets.token_hex(4)}", "--overwrite")


def modes(namespace: str) -> set[str]:
    """Owner, group and mode of each file that is for the sidecar alone."""
    return set(kubectl("-n", namespace, "exec", APP, "-c", "s3d", "--", "stat", "-Lc", "%u:%g:%a", *FILES).split())


@pytest.mark.semantics("A-2", "A-8", "A-10", "A-10d")
def test_each_key_acts_by_its_own_identity_over_tls_and_only_the_sidecar_reads_what_is_secret(
    gateway: Gateway, namespace: str, bucket: str, remote: Remote, followed: Followed, door: Door
) -> None:
    door.give(days=30, secret_of_a="secret-of-door-a", identities=[door.a, door.b])
    gateway(**door.spec())
    start(namespace, bucket, *map(str, SIZES), securityContext={"fsGroup": GROUP})
    app, _, _ = followed()
    app.wait_for(says("done"), "all writes")
    own, shared = ({"Bucket": bucket, "Key": key} for key in ("own", "shared/one"))

    assert ask(
        namespace,
        (["door-a", "secret-of-door-a"], "put_object", own),
        (["door-b", "secret-of-door-b"], "put_object", own),
        (["door-b", "secret-of-door-b"], "put_object", shared),
    ) == ["OK", "AccessDenied", "OK"]
    assert modes(namespace) == {f"0:{GROUP}:440"}
    for path in FILES:
        assert kube.ask("-n", namespace, "exec", APP, "-c", APP, "--", "cat", path).code != 0
    assert kubectl("-n", namespace, "exec", APP, "-c", "s3d", "--", "s3d", "ls", bucket)
    until(lambda: kube.pending(namespace)["changes"] == 0, "the delivery")
    assert digests(app).items() <= objects(remote, bucket).items()
    until(lambda: condition(namespace, "CredentialsResolved") == "Found", "the status")


@pytest.mark.semantics("A-2b", "A-8f", "A-10a")
def test_secrets_that_change_are_taken_over_by_a_running_pod_and_wrong_ones_are_told(
    gateway: Gateway, namespace: str, bucket: str, door: Door
) -> None:
    door.give(days=30, secret_of_a="secret-of-door-a", identities=[door.a])
    gateway(**door.spec())
    start(namespace, bucket)
    assert modes(namespace) == {"0:0:440"}
    own, shared = ({"Bucket": bucket, "Key": key} for key in ("own", "shared/one"))
    old, new = ["door-a", "secret-of-door-a"], ["door-a", "the-next-secret"]
    b = ["door-b", "secret-of-door-b"]
    questions: list[Question] = [(old, "put_object", own), (new, "put_object", own), (b, "put_object", shared)]
    assert ask(namespace, *questions) == ["OK", "SignatureDoesNotMatch", "AccessDenied"]

    certificate = door.give(days=29, secret_of_a="the-next-secret", identities=[door.a, door.b])
    look_at_pod(namespace)

    next_keys, soon = ["SignatureDoesNotMatch", "OK", "OK"], kube.MOUNTED_SECONDS
    until(lambda: ask(namespace, *questions) == next_keys, "the next keys and accounts", soon)
    until(lambda: run_in_app(namespace, SERVED).split() == certificate.split(), "the next certificate", soon)
    kubectl("apply", given=secret(namespace, "door-keys", keys_json="[{"))
    look_at_pod(namespace)
    until(lambda: condition(namespace, "Ready") == "NotTakenOver", "the status", soon)
    assert ask(namespace, (new, "put_object", own), (None, "put_object", own)) == ["OK", "OK"]
    (sidecar,) = kube.get("-n", namespace, "pod", APP)["status"]["initContainerStatuses"]
    assert (sidecar["ready"], sidecar["restartCount"]) == (True, 0)
