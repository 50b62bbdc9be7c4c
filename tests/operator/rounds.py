"""A reconciler before an API server and the status doors of its pods, and what its rounds have written."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from s3d_operator.kube import Kube
from s3d_operator.reconcile import Reconciler
from tests.operator.apiserver import ApiServer
from tests.operator.goldens import IMAGE
from tests.operator.injections import ANONYMOUS
from tests.operator.kopfs import watching
from tests.operator.test_pods import SAID, door
from tests.processes import free_port

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
GATEWAYS = "/apis/s3d.dev/v1alpha1/namespaces/shop/s3gateways"
EVENTS = "/api/v1/namespaces/shop/events"
PODS = "/api/v1/namespaces/shop/pods"
QUIET = SAID | {"pending": {"changes": 0, "bytes": 0, "oldest_age_seconds": None, "parked": 0, "held": 0}}


def put_gateway(
    api: ApiServer, name: str = "default", spec: dict[str, Any] = ANONYMOUS, created: str = "2026-01-01T00:00:00Z"
) -> None:
    known = {"namespace": "shop", "name": name, "uid": f"uid-of-{name}", "generation": 1, "creationTimestamp": created}
    api.put(f"{GATEWAYS}/{name}", {"metadata": known, "spec": spec})


def put_pod(api: ApiServer, raw: dict[str, Any]) -> None:
    api.put(f"{PODS}/{raw['metadata']['name']}", raw)


def asking(name: str, **spec: Any) -> dict[str, Any]:
    """A pod that opted in and has no gateway."""
    known = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "labels": {"s3d.dev/inject": "true"}}
    return {"metadata": known, "spec": {"containers": [{"name": "app"}]} | spec, "status": {"phase": "Running"}}


def status(api: ApiServer, name: str = "default") -> dict[str, Any]:
    found: dict[str, Any] = api.objects[f"{GATEWAYS}/{name}"].get("status") or {}
    return found


def conditions(api: ApiServer, name: str = "default") -> dict[str, str]:
    return {each["type"]: each["reason"] for each in status(api, name)["conditions"]}


def events(api: ApiServer) -> list[tuple[str, str, str]]:
    """Kind of the object, reason and message of each event."""
    found = [raw for path, raw in api.objects.items() if path.startswith(EVENTS)]
    return [(each["involvedObject"]["kind"], each["reason"], each["message"]) for each in found]


class Door:
    """The status door of the pods at 127.0.0.1; it says what `said` is, or nothing."""

    def __init__(self) -> None:
        self.port = free_port()
        self.said: dict[str, Any] | None = SAID

    async def answer(self, request: web.Request) -> web.Response:
        return web.json_response(self.said) if self.said else web.Response(status=503)


@pytest.fixture
async def pods_door() -> AsyncIterator[Door]:
    opened = Door()
    async with door("127.0.0.1", opened.port, opened.answer):
        yield opened


@pytest.fixture
async def reconciler(client: Kube, pods_door: Door) -> AsyncIterator[Reconciler]:
    """A reconciler that knows the pods; a test makes its rounds."""
    async with another(client, pods_door) as made:
        yield made


CLAIMS = "/api/v1/namespaces/shop/persistentvolumeclaims"
LEFT = json.dumps({"changes": 4, "bytes": 40, "oldest": 2})
CLAIM = ANONYMOUS | {"volume": {"persistentVolumeClaim": {"claimName": "queue"}}}


@asynccontextmanager
async def another(client: Kube, door: Door) -> AsyncIterator[Reconciler]:
    """The reconciler after a restart: it knows what the API server has."""
    made = Reconciler(client, IMAGE, door_port=door.port)
    async with watching(made):
        await made.know_pods()
        yield made
