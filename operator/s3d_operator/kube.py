"""The API server through `kubernetes.aio`: objects as JSON, and a set of them that follows a watch.

Thin on purpose. The package has the connection, the credentials and the verbs. Its models are not used: they would drop
the fields that are newer than they are. Nor is its discovery: the few kinds that the operator knows are named here. A
request is not made twice; a Watch goes on for ever.
"""

import asyncio
import json
import logging
import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient, Resource
from kubernetes.aio.dynamic.exceptions import DynamicApiError
from kubernetes.aio.watch import Watch as Stream

from s3d.errors import S3DError
from s3d_operator.access import Access
from s3d_operator.names import API_VERSION, S3_GATEWAY, SYNC_FOLDER

TIMEOUT_SECONDS = 10
# The server ends a watch after this; it sends a bookmark every minute, so silence for longer means a dead connection.
WATCH_SECONDS = 240
SILENCE_SECONDS = 90
BACKOFF_SECONDS = (0.5, 30)

Object = dict[str, Any]
log = logging.getLogger(__name__)


class ApiError(S3DError):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, and where the API has it."""

    api_version: str
    name: str
    plural: str
    is_namespaced: bool = True

    def resource(self, client: DynamicClient, part: str = "") -> Resource:
        """The kind as the package knows it, or a part of its objects such as `status`."""
        group, _, version = self.api_version.rpartition("/")
        return Resource(
            client=client,
            prefix="apis" if group else "api",
            group=group,
            api_version=version,
            kind=self.name,
            name=self.plural,
            namespaced=self.is_namespaced,
            subresources={part: {"kind": self.name, "name": f"{self.plural}/{part}", "namespaced": self.is_namespaced}}
            if part
            else None,
        )


GATEWAYS = Kind(API_VERSION, "S3Gateway", S3_GATEWAY)
FOLDERS = Kind(API_VERSION, "SyncFolder", SYNC_FOLDER)
CONFIG_MAPS = Kind("v1", "ConfigMap", "configmaps")
EVENTS = Kind("v1", "Event", "events")
NAMESPACES = Kind("v1", "Namespace", "namespaces", is_namespaced=False)
CLAIMS = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
PODS = Kind("v1", "Pod", "pods")
SECRETS = Kind("v1", "Secret", "secrets")
JOBS = Kind("batch/v1", "Job", "jobs")
WEBHOOK_CONFIGURATIONS = tuple(
    Kind(
        "admissionregistration.k8s.io/v1",
        f"{does}WebhookConfiguration",
        f"{does.lower()}webhookconfigurations",
        is_namespaced=False,
    )
    for does in ("Mutating", "Validating")
)
"""Those that send pods and gateways to the webhook. Both have one name, and one certificate."""


class Kube:
    """A client of one API server; use it as an asynchronous context manager.

    Each method raises ApiError with what the server says, and OSError, TimeoutError or aiohttp.ClientError where it
    does not answer. `find` finds credentials anew; without it those of the start are for ever.
    """

    def __init__(self, access: Access, find: Callable[[], Awaitable[Access]] | None = None) -> None:
        self.access = access
        self.now = datetime.now(UTC)
        """The time by the server's clock, as of its last answer: it judges our certificates, we do not."""
        self.client: DynamicClient
        self._find, self._is_refused = find, False
        self._renewing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.client.close()

    def _connect(self) -> None:
        self.client = DynamicClient(ApiClient(self.access.configuration))

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """An object; None where there is none."""
        try:
            return await self.call("get", kind, name=name, namespace=namespace)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        only_metadata: bool = False,
        seconds: float = TIMEOUT_SECONDS,
    ) -> Object:
        """The list of the objects that a label and a field selector select; of one namespace, or of all."""
        accept = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" if only_metadata else ""
        return await self.call(
            "get",
            kind,
            seconds=seconds,
            namespace=namespace,
            label_selector=labels or None,
            field_selector=fields or None,
            header_params={"Accept": f"application/json{accept}"},
        )

    async def create(self, kind: Kind, raw: Object, namespace: str = "") -> Object:
        """Create an object."""
        return await self.call("create", kind, body=raw, namespace=namespace)

    async def patch(self, kind: Kind, name: str, change: Object | Sequence[Object], namespace: str = "") -> Object:
        """Change an object: a sequence is a JSON Patch, an object a merge patch."""
        patch = "merge" if isinstance(change, dict) else "json"
        content_type = f"application/{patch}-patch+json"
        return await self.call("patch", kind, name=name, namespace=namespace, body=change, content_type=content_type)

    async def apply(self, kind: Kind, raw: Object, manager: str, *, part: str = "") -> Object:
        """Apply an object server-side: what it says is `manager`'s from now on, what it does not say stays as it is."""
        head = {"apiVersion": kind.api_version, "kind": kind.name}
        return await self.call(
            "server_side_apply", kind, part=part, body=head | raw, field_manager=manager, force_conflicts=True
        )

    async def delete(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Delete an object, and what belongs to it in the background; there may be none."""
        try:
            await self.call("delete", kind, name=name, namespace=namespace, propagation_policy="Background")
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def call(
        self, verb: str, kind: Kind, *, part: str = "", seconds: float = TIMEOUT_SECONDS, **arguments: Any
    ) -> Object:
        """Call a verb of the dynamic client; answer the JSON that the server answers."""
        await self.renew()
        resource = kind.resource(self.client, part)
        verbs = resource.subresources[part] if part else resource
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            # Not as an object of the package: it would have to be made into JSON again.
            response = await getattr(verbs, verb)(**arguments, serialize=False, _request_timeout=timeout)
        except DynamicApiError as error:
            raise self._refusal(error) from None
        self.now = read_date(response.headers.get("Date", ""))
        answer: Object = await response.json(content_type=None)
        return answer

    async def watch(
        self, kind: Kind, version: str, *, namespace: str = "", fields: str = ""
    ) -> AsyncIterator[tuple[str, Object]]:
        """The type and the object of each change after `version`, until the server ends the watch."""
        await self.renew()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_SECONDS, sock_read=SILENCE_SECONDS)
        try:
            async with Stream() as stream:
                async for event in stream.stream(
                    kind.resource(self.client).get,
                    namespace=namespace,
                    field_selector=fields or None,
                    resource_version=version,
                    timeout_seconds=WATCH_SECONDS,
                    query_params=[("allowWatchBookmarks", "true")],
                    serialize=False,
                    _request_timeout=timeout,
                ):
                    if isinstance(event, str):
                        return  # the line of a server that died
                    yield event["type"], event["raw_object"]
        except DynamicApiError as error:
            raise self._refusal(error) from None
        except ApiException as error:
            raise ApiError(error.status or 500, error.reason or "") from None

    def _refusal(self, error: DynamicApiError) -> ApiError:
        """What the server says in an answer that is not a success; it may be that it does not know us any more."""
        self.now = read_date((error.headers or {}).get("Date", ""))
        self._is_refused = error.status == HTTPStatus.UNAUTHORIZED
        text = error.body or ""
        try:
            message = json.loads(text)["message"]
        except (ValueError, KeyError, TypeError):
            message = text[:512]
        return ApiError(error.status or 500, message)

    async def renew(self) -> None:
        """Find the credentials anew where they have run out, or where the server knows them no more (401).

        Requests that are under way with others than the new ones may fail, as where the server closes the connection.
        """
        async with self._renewing:
            has_expired = self.access.expires is not None and self.access.expires <= datetime.now(UTC)
            if self._find is None or not (has_expired or self._is_refused):
                return
            before, self.access = self.client, await self._find()
            self._is_refused = False
            self._connect()
            await before.client.close()


def read_date(date: str) -> datetime:
    """The time that an answer says; ours where it says none, or none that can be read."""
    try:
        return parsedate_to_datetime(date).astimezone(UTC)
    except (TypeError, ValueError):
        return datetime.now(UTC)


def load_cert(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Give a TLS context a certificate and its key; OpenSSL reads them from memory that no file system shows."""
    fd = os.memfd_create("certificate")
    with open(fd, "r+b") as file:  # noqa: PTH123
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{fd}")


class Watch:
    """The objects of a list, kept as the API server has them.

    `objects` maps (namespace, name) to what `read` makes of an object; it is empty until `synced` is set and keeps its
    last state while the server is away.
    """

    def __init__(
        self, kube: Kube, kind: Kind, read: Callable[[Object], Any], *, namespace: str = "", fields: str = ""
    ) -> None:
        self.objects: dict[tuple[str, str], Any] = {}
        self.synced = asyncio.Event()
        self.heard_at = time.monotonic()
        """When the server last said anything, by the monotonic clock; it speaks once a minute at least."""
        self._kube, self._kind, self._read = kube, kind, read
        self._namespace, self._fields = namespace, fields
        self._version = ""

    async def run(self) -> None:
        """Follow the server for ever."""
        first, limit = BACKOFF_SECONDS
        pause = first
        while True:
            try:
                if not self._version:
                    await self._list()
                async for change, raw in self._kube.watch(
                    self._kind, self._version, namespace=self._namespace, fields=self._fields
                ):
                    self._note(change, raw)
                pause = first
            except (S3DError, OSError, TimeoutError, aiohttp.ClientError, ValueError) as error:
                if isinstance(error, ApiError) and error.status == HTTPStatus.GONE:
                    self._version = ""  # the server has forgotten it
                else:
                    log.warning("watch of %s: %r", self._kind.plural, error)
                    pause = min(pause * 2, limit)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311

    async def _list(self) -> None:
        answer = await self._kube.list(self._kind, self._namespace, fields=self._fields)
        self.objects = {key_of(raw): self._read(raw) for raw in answer.get("items") or []}
        self._version = answer["metadata"]["resourceVersion"]
        self.heard_at = time.monotonic()
        self.synced.set()

    def _note(self, change: str, raw: Object) -> None:
        self.heard_at = time.monotonic()
        if change == "DELETED":
            self.objects.pop(key_of(raw), None)
        elif change != "BOOKMARK":
            self.objects[key_of(raw)] = self._read(raw)
        self._version = raw["metadata"]["resourceVersion"]


def key_of(raw: Object) -> tuple[str, str]:
    """Namespace and name of an object."""
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]
