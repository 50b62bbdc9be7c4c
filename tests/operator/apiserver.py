"""An API server in memory: get, list, watch, create, delete, the two patches and an apply, for any path.

It keeps what the operator relies on: resource versions, 404, 409 and 410, bookmarks, and a status that is a subresource
by being a path of its own; and the discovery that kopf makes. It judges nothing; schemas and rules are for a real one.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jsonpatch
from aiohttp import web
from kubernetes.aio.client import Configuration

from s3d_operator.access import Access

COLLECTIONS = {
    "configmaps",
    "customresourcedefinitions",
    "events",
    "jobs",
    "mutatingwebhookconfigurations",
    "namespaces",
    "persistentvolumeclaims",
    "pods",
    "s3gateways",
    "secrets",
    "syncfolders",
    "things",
    "validatingwebhookconfigurations",
}

Object = dict[str, Any]


def discovered(name: str, kind: str) -> Object:
    """What discovery says of a collection."""
    return {"name": name, "kind": kind, "singularName": kind.lower(), "namespaced": True, "verbs": ["list", "watch"]}


def discovered_group(name: str, version: str) -> Object:
    """What discovery says of a group."""
    return {"name": name, "versions": [{"version": version}], "preferredVersion": {"version": version}}


DISCOVERY: dict[str, Object] = {
    "/version": {"major": "1", "minor": "36"},
    "/api": {"versions": ["v1"]},
    "/api/v1": {
        "resources": [discovered("pods", "Pod"), discovered("namespaces", "Namespace"), discovered("events", "Event")]
    },
    "/apis": {"groups": [discovered_group("s3d.dev", "v1alpha1"), discovered_group("apiextensions.k8s.io", "v1")]},
    "/apis/apiextensions.k8s.io/v1": {
        "resources": [discovered("customresourcedefinitions", "CustomResourceDefinition")]
    },
    "/apis/s3d.dev/v1alpha1": {
        "resources": [discovered("s3gateways", "S3Gateway"), discovered("syncfolders", "SyncFolder")]
    },
}


class ApiServer:
    """Objects by their path, and those who watch them."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.requests: list[str] = []
        self.broken: bool | str = False
        """Whether it fails, or the end of the paths for which it does."""
        self.forbidden: str | None = None
        """What paths hold that are answered 403."""
        self.forgotten = 0
        self.version = 100
        self.watchers: dict[asyncio.Queue[Object | None], tuple[str, Selects]] = {}

    def put(self, path: str, raw: Object) -> Object:
        """Create or replace an object."""
        kind = "MODIFIED" if path in self.objects else "ADDED"
        self.version += 1
        self.objects[path] = raw | {"metadata": raw["metadata"] | {"resourceVersion": str(self.version)}}
        self.tell(path, kind, self.objects[path])
        return self.objects[path]

    def delete(self, path: str) -> None:
        """Delete an object."""
        self.version += 1
        raw = self.objects.pop(path)
        self.tell(path, "DELETED", raw | {"metadata": raw["metadata"] | {"resourceVersion": str(self.version)}})

    def end_watches(self) -> None:
        """End every watch, as a server does from time to time; what happens then is not heard before the next."""
        for queue in self.watchers:
            queue.put_nowait(None)
        self.watchers.clear()

    def forget(self) -> None:
        """Lose the history, as a compaction does: who watches from before has to list again."""
        self.forgotten = self.version

    def tell(self, path: str, kind: str, raw: Object) -> None:
        """Tell those who watch."""
        for queue, (collection, selects) in self.watchers.items():
            if within(path, collection) and selects(raw):
                queue.put_nowait({"type": kind, "object": raw})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.requests.append(f"{request.method} {request.path_qs}")
        if self.broken is True or (self.broken and request.path.endswith(self.broken)):
            return failure(503, "broken")
        if self.forbidden and self.forbidden in request.path:
            return failure(403, "forbidden")
        if request.path in DISCOVERY:
            return web.json_response(DISCOVERY[request.path])
        if request.method == "DELETE" and request.path in self.objects:
            self.delete(request.path)
            return web.json_response({"status": "Success"})
        if request.method == "POST":
            raw = await request.json()
            path = f"{request.path}/{raw['metadata']['name']}"
            return (
                failure(409, "exists") if path in self.objects else web.json_response(self.put(path, raw), status=201)
            )
        if request.method == "PATCH":
            return self.patch(request.path, await request.read(), request.content_type)
        if request.path in self.objects:
            return web.json_response(self.objects[request.path])
        if request.path.rsplit("/", 1)[-1] not in COLLECTIONS:
            return failure(404, f"{request.path} not found")
        selects = selector(request)
        if request.query.get("watch"):
            return await self.watch(request, selects)
        items = [raw for path, raw in self.objects.items() if within(path, request.path) and selects(raw)]
        return web.json_response({"items": items, "metadata": {"resourceVersion": str(self.version)}})

    async def watch(self, request: web.Request, selects: "Selects") -> web.StreamResponse:
        """Stream the changes of a collection."""
        response = web.StreamResponse()
        await response.prepare(request)
        since = int(request.query["resourceVersion"])
        if since < self.forgotten:
            status = {"code": 410, "reason": "Expired", "message": "too old resource version"}
            await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
            return response
        queue: asyncio.Queue[Object | None] = asyncio.Queue()
        queue.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.version)}}})
        for path, raw in self.objects.items():
            missed = int(raw["metadata"]["resourceVersion"]) > since
            if missed and within(path, request.path) and selects(raw):
                queue.put_nowait({"type": "ADDED", "object": raw})
        self.watchers[queue] = (request.path, selects)
        try:
            while event := await queue.get():
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self.watchers.pop(queue, None)
        return response

    def patch(self, path: str, body: bytes, kind: str) -> web.Response:
        """Apply a JSON Patch, a merge patch, or an object whose status is a path of its own."""
        if kind == "application/apply-patch+yaml":
            applied, at = json.loads(body), path.removesuffix("/status")
            before = self.objects.get(at, {})
            if at != path:
                # Of a status everything is its one writer's: what it does not say any more goes.
                before = {name: value for name, value in before.items() if name != "status"}
            return web.json_response(self.put(at, merge(before, applied)))
        if path not in self.objects:
            return failure(404, f"{path} not found")
        before, change = self.objects[path], json.loads(body)
        if kind == "application/json-patch+json":
            return web.json_response(self.put(path, jsonpatch.apply_patch(before, change)))
        wanted = change.get("metadata", {}).get("resourceVersion", before["metadata"]["resourceVersion"])
        if wanted != before["metadata"]["resourceVersion"]:
            return failure(409, "conflict")
        return web.json_response(self.put(path, merge(before, change)))


def within(path: str, collection: str) -> bool:
    """Whether a path is of a collection, of one namespace or of all."""
    parent = path.rsplit("/", 1)[0]
    group, plural = collection.rsplit("/", 1)
    is_everywhere = "/namespaces/" not in collection
    return parent == collection or (is_everywhere and parent.startswith(f"{group}/") and parent.endswith(f"/{plural}"))


Selects = Callable[[Object], bool]


def selector(request: web.Request) -> Selects:
    """What the selectors of a list or a watch select: a name, and labels."""
    name = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
    terms = re.findall(r"(!?)([a-z0-9./-]+)(?:=([^,]*)| notin \(([^)]*)\))?", request.query.get("labelSelector", ""))

    def selects(raw: Object) -> bool:
        labels = raw["metadata"].get("labels") or {}
        return name in {"", raw["metadata"]["name"]} and all(
            (key not in labels)
            if absent
            else labels.get(key) not in without.split(",")
            if without
            else labels.get(key) == value
            if value
            else key in labels
            for absent, key, value, without in terms
        )

    return selects


def merge(before: Any, change: Any) -> Any:
    """RFC 7396."""
    if not isinstance(change, dict):
        return change
    after = dict(before) if isinstance(before, dict) else {}
    for key, value in change.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = merge(after.get(key), value)
    return after


def failure(status: int, message: str) -> web.Response:
    """A Status as the API server gives it."""
    return web.json_response({"kind": "Status", "code": status, "message": message}, status=status)


@asynccontextmanager
async def serving(api: ApiServer) -> AsyncIterator[Access]:
    """Serve on a loopback port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield Access(Configuration(host=f"http://{host}:{port}"))
    finally:
        api.end_watches()
        await runner.cleanup()
