"""The end of a pod whose app takes all of the time there is."""

import json
from collections.abc import Callable

import pytest

from e2e.cluster import kube
from e2e.cluster.kube import APP, Stream, kubectl, wait
from e2e.cluster.test_delivery import end_of, ended, says
from tests.relays import Relayed

DRAIN, OWN = 8, 2
"""Seconds of the drain, and of the app; five more are the pod's."""


@pytest.mark.checklist(13)
@pytest.mark.checklist(15)
def test_where_an_app_ends_only_with_the_grace_period_the_sidecar_still_says_what_is_lost(
    gateway: Callable[..., None],
    namespace: str,
    bucket: str,
    relay: Relayed,
    followed: Callable[[], tuple[Stream, Stream, Stream]],
) -> None:
    """The kubelet gives it two seconds then, whatever the drain was to take: it knows that its time is over."""
    gateway(drain={"seconds": DRAIN})
    relay.set(mode="refuse")
    made = kube.pod(namespace, bucket, "4096", terminationGracePeriodSeconds=OWN)
    # The first process of a container is sent no signal that it has no handler for.
    made["spec"]["containers"].append(kube.app_container(name="stubborn") | {"command": ["sleep", "infinity"]})
    kubectl("create", given=made)
    wait(namespace, f"pod/{APP}", "condition=Ready")
    app, sidecar, changes = followed()
    app.wait_for(says("done"), "all writes")
    kubectl("-n", namespace, "delete", "pod", APP, "--wait=false")
    sidecar.wait_for(lambda line: "the pod ends" in line, "the hook")

    status = ended(changes)["status"]

    assert end_of(status, "containerStatuses", "stubborn")["exitCode"] == 137
    end = end_of(status, "initContainerStatuses", "s3d")
    assert end["exitCode"] == 75
    left = json.loads(end["message"])
    app.wait_for(says("end"), "the app's last words")
    assert left["changes"] == len([line for line in app.lines() if says("wrote")(line)])
