"""The reconciler: writes the status of gateways, and keeps the webhook's certificate.

kopf calls the handlers; they write nothing but status, return nothing and ask for no finalizer, so that deletion never
waits for this process. No admission depends on it.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import kopf

from s3d_operator import certs
from s3d_operator.api import GROUP, VERSION
from s3d_operator.certs import Place
from s3d_operator.crd import S3_GATEWAY
from s3d_operator.kube import Kube, Server
from s3d_operator.status import status_of

HEALTH = "http://0.0.0.0:{port}/healthz"


def registry() -> kopf.OperatorRegistry:
    """The handlers."""
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(log_in)
    kopf.on.startup(registry=handlers)(configure)
    for event in (kopf.on.create, kopf.on.update, kopf.on.resume):
        event(GROUP, VERSION, S3_GATEWAY, registry=handlers, id="accept")(accept)
    return handlers


def log_in(**arguments: Any) -> kopf.ConnectionInfo | None:
    """Find the API server as `kube.find_server` does: KUBECONFIG first, else the pod's service account."""
    return kopf.login_with_kubeconfig(**arguments) or kopf.login_with_service_account(**arguments)


def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Keep kopf's notes under our name, its logs out of the cluster's events, and its watches alive."""
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.posting.loggers = False
    settings.posting.level = logging.WARNING
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 10


async def accept(body: kopf.Body, patch: kopf.Patch, **_: Any) -> None:
    """Say whether the spec can be used, and which generation of it was looked at."""
    patch.status.update(status_of(dict(body), datetime.now(UTC)))


async def run(server: Server, place: Place, health_port: int) -> None:
    """Reconcile until SIGTERM."""
    async with Kube(server) as kube, asyncio.TaskGroup() as tasks:
        certificate = tasks.create_task(certs.keep(kube, place))
        await asyncio.sleep(0)  # kopf ends every task that starts after it, and leaves alone those that run already
        await kopf.operator(
            registry=registry(), clusterwide=True, standalone=True, liveness_endpoint=HEALTH.format(port=health_port)
        )
        certificate.cancel()
