"""What the reconciler tells by events: injections, gateways that are gone, settings that are refused, losses.

It tells of all that it is given, round for round: an event is named by what it says, so that it is there once.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime

from s3d_operator.events import Events
from s3d_operator.kube import Object
from s3d_operator.names import API_VERSION
from s3d_operator.pods import Left, Pod
from s3d_operator.reasons import Reason
from s3d_operator.status import SHOW_STATUS

# Events about the injection of older pods were told by somebody before, or have run out.
NEW_SECONDS = 600


class Telling:
    """What tells; `apart` keeps what goes wrong about one pod from all others."""

    def __init__(self, events: Events, apart: Callable[[str], AbstractContextManager[None]]) -> None:
        self._events, self._apart = events, apart

    async def orphans(self, pods: Iterable[Pod], gateways: set[tuple[str, str]]) -> None:
        """Tell of pods that run on with a gateway which was deleted: no status counts what they hold any more."""
        for pod in pods:
            if pod.of not in gateways and not pod.is_over:
                with self._apart(f"pod {pod.namespace}/{pod.name}"):
                    text = (
                        f"S3Gateway {pod.gateway!r} was deleted while pods use it. They keep its settings and deliver "
                        "their changes, but no status counts these. Create the S3Gateway again, or recreate the pods."
                    )
                    await self._events.tell(pod.owner, Reason.GATEWAY_GONE, text)

    async def injections(self, pods: Iterable[Pod], now: datetime) -> None:
        """Tell of new pods that got their gateway."""
        for pod in pods:
            if (
                pod.created
                and not pod.drains
                and (now - datetime.fromisoformat(pod.created)).total_seconds() < NEW_SECONDS
            ):
                with self._apart(f"pod {pod.namespace}/{pod.name}"):
                    text = f"pods have S3Gateway {pod.gateway!r}: AWS SDKs in them write through it"
                    if pod.goes_past:
                        text = (
                            f"pods have S3Gateway {pod.gateway!r}, but the environment does not send the SDKs of "
                            f"{', '.join(pod.goes_past)} to it: set their endpoint to {pod.endpoint}"
                        )
                    await self._events.tell(pod.owner, Reason.INJECTED, text, kind="Normal")

    async def refused(self, raw: Object) -> None:
        """Tell at a gateway that pods refuse what it gives them, once for each time that its condition begins to."""
        for each in (raw.get("status") or {}).get("conditions") or []:
            if each.get("reason") == Reason.SETTINGS_REFUSED:
                text = (
                    f"since {each.get('lastTransitionTime')} pods refuse the settings of their ConfigMap and use those "
                    f"from before: {SHOW_STATUS} says what is wrong, and where"
                )
                await self._events.tell(about_gateway(raw["metadata"]), Reason.SETTINGS_REFUSED, text)

    async def loss(self, pod: Pod, left: Left, gateways: Mapping[tuple[str, str], Object]) -> str:
        """Tell of a pod that ended with changes which were not delivered; what was told, empty where it was not."""
        reason = Reason.QUEUE_LEFT if pod.outlives else Reason.QUEUE_LOST
        about = "" if left.is_exact else "about "
        fate = "wait in its claim for the next pod that mounts it" if pod.outlives else "were lost with its volume"
        text = (
            f"pod {pod.name} of {pod.created} ended before everything was delivered: "
            f"{about}{left.changes} changes, {left.bytes} bytes {fate}"
        )
        objects = [pod.owner]
        if metadata := gateways.get((pod.namespace, pod.gateway)):
            objects.append(about_gateway(metadata))
        for each in objects:
            if not await self._events.tell(each, reason, text):
                return ""
        return text


def about_gateway(metadata: Object) -> Object:
    """A gateway as events name it."""
    known = {name: metadata[name] for name in ("name", "namespace", "uid")}
    return {"apiVersion": API_VERSION, "kind": "S3Gateway"} | known
