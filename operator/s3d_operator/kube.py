"""The API server over aiohttp: requests as JSON, and a set of objects that follows a watch.

Thin on purpose: paths and bodies are the API's own. It finds the server as kubectl does, by KUBECONFIG, or by the
service account of its pod. It does not retry a request; a Watch retries for ever.
"""

import asyncio
import base64
import json
import logging
import os
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

from s3d.errors import ConfigError, S3DError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
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
class Server:
    """Where the API server is and how to be somebody there."""

    url: str
    tls: ssl.SSLContext | None = None
    token: str = ""
    token_file: Path | None = None
    namespace: str = "default"


def find_server() -> Server:
    """Find the API server: KUBECONFIG first, else the pod's service account. Blocks on small files.

    Raises ConfigError where there is neither.
    """
    if path := os.environ.get("KUBECONFIG"):
        return read_kubeconfig(Path(path))
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError("no API server is known", hint="set KUBECONFIG, or run in a pod with a service account")
    host = f"[{host}]" if ":" in host else host
    return Server(
        url=f"https://{host}:{port}",
        tls=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")),
        token_file=ACCOUNT / "token",
        namespace=(ACCOUNT / "namespace").read_text(encoding="utf-8").strip(),
    )


def read_kubeconfig(path: Path) -> Server:
    """Read the current context of a kubeconfig that has a token or a client certificate."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = named(config, "context", config["current-context"])
        cluster, user = named(config, "cluster", context["cluster"]), named(config, "user", context["user"])
        tls = None
        if cluster["server"].startswith("https:"):
            tls = ssl.create_default_context(cadata=material(cluster, "certificate-authority").decode() or None)
            if cluster.get("insecure-skip-tls-verify"):
                tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
            if certificate := material(user, "client-certificate"):
                load_cert(tls, certificate, material(user, "client-key"))
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} cannot be used: {error!r}", hint="`kubectl config view` shows what it holds"
        ) from error
    return Server(cluster["server"], tls, user.get("token", ""), namespace=context.get("namespace", "default"))


def named(config: Object, kind: str, name: str) -> Object:
    """The cluster, user or context of a kubeconfig by its name."""
    found: Object = next(entry[kind] for entry in config[f"{kind}s"] if entry["name"] == name)
    return found


def material(entry: Object, name: str) -> bytes:
    """A certificate or key of a kubeconfig: inline, in a file, or nothing."""
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(data)
    return Path(entry[name]).read_bytes() if entry.get(name) else b""


def load_cert(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Give a TLS context a certificate and its key; OpenSSL reads them from memory that no file system shows."""
    fd = os.memfd_create("certificate")
    with open(fd, "r+b") as file:  # noqa: PTH123
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{fd}")


class Kube:
    """A client of one API server; use it as an asynchronous context manager."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.now = datetime.now(UTC)
        """The time by the server's clock, as of its last answer: it judges our certificates, we do not."""
        self._session: aiohttp.ClientSession  # noqa: TID251

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout)  # noqa: TID251
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Object | list[Object] | None = None,
        *,
        seconds: float = TIMEOUT_SECONDS,
        kind: str = "",
    ) -> Object:
        """Make one request and answer its JSON; a list as body of a PATCH is a JSON Patch, an object a merge patch.

        Raises ApiError with the server's answer, and OSError or TimeoutError where there is none.
        """
        if not kind:
            patches = "json" if isinstance(body, list) else "merge"
            kind = f"application/{patches}-patch+json" if method == "PATCH" else "application/json"
        headers = await self.identity() | {"Content-Type": kind}
        data = None if body is None else json.dumps(body)
        async with self._session.request(
            method,
            self.server.url + path,
            data=data,
            headers=headers,
            ssl=self.server.tls or True,
            timeout=aiohttp.ClientTimeout(total=seconds),
        ) as response:
            self.now = read_date(response.headers.get("Date", ""))
            await refuse(response)
            answer: Object = await response.json(content_type=None)
            return answer

    async def apply(self, path: str, raw: Object, manager: str) -> Object:
        """Apply an object server-side: what it says is `manager`'s from now on, what it does not say stays as it is."""
        query = f"fieldManager={manager}&force=true"
        return await self.request("PATCH", f"{path}?{query}", raw, kind="application/apply-patch+yaml")

    async def identity(self) -> dict[str, str]:
        """The Authorization header; a service account's token is renewed in its file."""
        token = self.server.token
        if self.server.token_file:
            token = (await asyncio.to_thread(self.server.token_file.read_text, encoding="utf-8")).strip()
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def watch(self, path: str, version: str, on_event: Callable[[str, Object], None]) -> None:
        """Call `on_event` with the type and object of each change after `version`, until the server ends the watch."""
        mark = "&" if "?" in path else "?"
        query = f"watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}"
        async with self._session.get(
            f"{self.server.url}{path}{mark}{query}",
            headers=await self.identity(),
            ssl=self.server.tls or True,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_SECONDS, sock_read=SILENCE_SECONDS),
            read_bufsize=1 << 22,  # an object may have 1.5 MiB, on one line
        ) as response:
            await refuse(response)
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(event["object"].get("code", 500), event["object"].get("message", ""))
                on_event(event["type"], event["object"])


def read_date(date: str) -> datetime:
    """The time that an answer says; ours where it says none, or none that can be read."""
    try:
        return parsedate_to_datetime(date).astimezone(UTC)
    except (TypeError, ValueError):
        return datetime.now(UTC)


async def refuse(response: aiohttp.ClientResponse) -> None:
    """Raise ApiError for an answer that is not a success."""
    if response.status >= 300:
        text = await response.text()
        try:
            message = json.loads(text)["message"]
        except (ValueError, KeyError, TypeError):
            message = text[:512]
        raise ApiError(response.status, message)


class Watch:
    """The objects of a list, kept as the API server has them.

    `objects` maps (namespace, name) to what `read` makes of an object; it is empty until `synced` is set and keeps its
    last state while the server is away. `gone` is told of each object that is deleted while it is watched.
    """

    def __init__(
        self, kube: Kube, path: str, read: Callable[[Object], Any], gone: Callable[[Object], None] = lambda _: None
    ) -> None:
        self.objects: dict[tuple[str, str], Any] = {}
        self.synced = asyncio.Event()
        self.heard_at = time.monotonic()
        """When the server last said anything, by the monotonic clock; it speaks once a minute at least."""
        self._kube, self._path, self._read, self._gone = kube, path, read, gone
        self._version = ""

    async def run(self) -> None:
        """Follow the server for ever."""
        first, limit = BACKOFF_SECONDS
        pause = first
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._kube.watch(self._path, self._version, self._apply)
                pause = first
            except (ApiError, OSError, TimeoutError, aiohttp.ClientError, ValueError) as error:
                if isinstance(error, ApiError) and error.status == HTTPStatus.GONE:
                    self._version = ""  # the server has forgotten it
                else:
                    log.warning("watch of %s: %r", self._path, error)
                    pause = min(pause * 2, limit)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311

    async def _list(self) -> None:
        answer = await self._kube.request("GET", self._path)
        self.objects = {key_of(raw): self._read(raw) for raw in answer.get("items") or []}
        self._version = answer["metadata"]["resourceVersion"]
        self.heard_at = time.monotonic()
        self.synced.set()

    def _apply(self, kind: str, raw: Object) -> None:
        self.heard_at = time.monotonic()
        if kind == "DELETED":
            self.objects.pop(key_of(raw), None)
            self._gone(raw)
        elif kind != "BOOKMARK":
            self.objects[key_of(raw)] = self._read(raw)
        self._version = raw["metadata"]["resourceVersion"]


def key_of(raw: Object) -> tuple[str, str]:
    """Namespace and name of an object."""
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]
