"""A folder in the volume of a pod is kept equal with a prefix of the remote, both ways."""

from collections.abc import Callable

import pytest

from e2e.cluster import kube
from e2e.cluster.kube import APP, get, kubectl, until, wait
from tests.remotes import Remote

USER = {"runAsUser": 1000, "runAsGroup": 1000}
PATIENT = ("-c", "import signal; print(*__import__('os').listdir('/docs'), flush=True); signal.sigwait([15])")


@pytest.mark.semantics("S-10", "S-10a", "S-10b")
def test_a_file_of_a_pod_arrives_at_the_remote_and_one_of_the_remote_in_the_pod(
    namespace: str, gateway: Callable[..., None], remote: Remote, bucket: str
) -> None:
    far = remote.client()
    far.put_object(Bucket=bucket, Key="docs/first.txt", Body=b"from the start")
    gateway()
    kubectl("create", given=kube.sync_folder(namespace, bucket, pollSeconds=2, waitForInitialSync=True))
    wait(namespace, "syncfolder/docs", "condition=Ready")
    app = kube.app_container(*PATIENT) | {
        "command": ["/opt/app/bin/python"],
        "securityContext": USER,
        "volumeMounts": [{"name": "docs", "mountPath": "/docs"}],
    }
    pod = kube.pod(namespace, containers=[app], volumes=[{"name": "docs", "emptyDir": {}}])
    pod["metadata"]["annotations"] = {"s3d.dev/sync-folder": "docs"}
    kubectl("create", given=pod)
    wait(namespace, f"pod/{APP}", "condition=Ready")
    said = until(lambda: kubectl("-n", namespace, "logs", APP, "-c", APP), "what the app has found at its start")
    assert "first.txt" in said.split(), "the app has not waited for its folder"

    here = ("-n", namespace, "exec", APP, "-c", APP, "--", "sh", "-c")
    kubectl(*here, "mkdir /docs/notes && echo mine > /docs/notes/mine.txt")
    keys = ["docs/first.txt", "docs/notes/mine.txt"]
    until(lambda: [each["Key"] for each in far.list_objects_v2(Bucket=bucket)["Contents"]] == keys, "the upload")
    assert far.get_object(Bucket=bucket, Key=keys[1])["Body"].read() == b"mine\n"
    far.put_object(Bucket=bucket, Key="docs/notes/theirs.txt", Body=b"theirs")
    until(lambda: "theirs.txt" in kubectl(*here, "ls /docs/notes"), "the download")
    kubectl(*here, 'test "$(stat -c %u:%g /docs/notes/theirs.txt)" = 1000:1000 && test -w /docs/notes/theirs.txt')

    wait(namespace, "syncfolder/docs", "condition=Synced", "jsonpath={.status.files}=3")
    status = get("-n", namespace, "syncfolder", "docs")["status"]
    assert (status["pods"]["synced"], status["unsent"], status["conflicts"]) == (1, 0, 0)

    # An emptied folder deletes nothing at the remote, and what its end leaves unsent is told.
    kubectl(*here, "rm -r /docs/first.txt /docs/notes")
    wait(namespace, "syncfolder/docs", "condition=Halted")
    kubectl("-n", namespace, "delete", "pod", APP, "--timeout=120s")
    told = ("-n", namespace, "get", "events", "-o", "jsonpath={.items[*].reason}")
    until(lambda: {"FolderHalted", "FilesLost"} <= set(kubectl(*told).split()), "the events")
    assert len(far.list_objects_v2(Bucket=bucket)["Contents"]) == 3
