"""Pods that ended with files of their mount that are no objects: told where their volume went with them."""

from collections.abc import Iterable

from s3d_operator.events import Events
from s3d_operator.pods import Pod
from s3d_operator.reasons import Reason


async def tell_ends(events: Events, pods: Iterable[Pod]) -> None:
    """Tell of each once. In a claim the files wait for the next pod, whose gateway makes objects of them."""
    for pod in pods:
        if not (pod.left and pod.left.unpublished) or pod.outlives or pod.is_expendable:
            continue
        number = pod.left.unpublished
        text = (
            f"pod {pod.name} of {pod.created} ended before {number} {'file' if number == 1 else 'files'} of its mount "
            "became objects, and its volume went with it"
        )
        await events.tell(pod.owner, Reason.FILES_LOST, text)
