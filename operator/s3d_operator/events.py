"""Events about injected and skipped pods, and about queues that were lost; each is told once.

The name of an event is made from what it says, so that a second one, also of another process, is refused by the API
server as existing. It takes no permission but to create them.
"""

import hashlib
import logging
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Literal

import aiohttp

from s3d.bounded import BoundedMap
from s3d_operator.kube import EVENTS, ApiError, Kube, Object
from s3d_operator.reasons import Reason

COMPONENT = "s3d-operator"
MAX_REMEMBERED = 10_000
"""Events of which it is known that they were told; one that was forgotten is refused by the API server."""

log = logging.getLogger(__name__)


class Events:
    """What was told already, and the way to tell more."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._told: BoundedMap[str, bool] = BoundedMap(MAX_REMEMBERED)

    async def tell(
        self, about: Object, reason: Reason, message: str, *, kind: Literal["Normal", "Warning"] = "Warning"
    ) -> bool:
        """Tell something about an object; False where it cannot be told now and is worth another try."""
        said = "\n".join([about["kind"], about["uid"], reason, message])
        name = f"{about['name'][:200]}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"
        if name in self._told:
            return True
        namespace = about["namespace"]
        try:
            await self._kube.create(EVENTS, event(about, name, reason, message, kind), namespace)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                log.warning("event %s about %s/%s: %s", reason, namespace, about["name"], error)
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return False
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            log.warning("event %s about %s/%s: %r", reason, namespace, about["name"], error)
            return False
        self._told[name] = True
        return True


def event(about: Object, name: str, reason: Reason, message: str, kind: str) -> Object:
    """An event of the core group, which `kubectl describe` shows."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about["namespace"]},
        "involvedObject": about,
        "reason": reason,
        "message": message[:1024],
        "type": kind,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
