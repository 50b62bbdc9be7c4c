"""The administrator's doors on a free port and on a unix socket, with fixed reports, and a client of them."""

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s3d.admin import server
from s3d.admin.reports import BucketStatus, Chosen, LaneStatus, ObjectStatus, Status, TriedStatus
from s3d.admin.server import Doors
from s3d.api import Body, BytesBody
from s3d.errors import S3DError, S3Error
from s3d.history import Sample
from s3d.metrics import Metrics
from s3d.problems import Problem
from s3d.settings import Gateway

SECRET = "clinic/patient-4711.pdf"


@dataclass
class Told:
    """Reports with fixed answers."""

    reasons: list[str] = field(default_factory=list)
    broken: bool = False
    refusal: str = ""
    chosen: list[Chosen] = field(default_factory=list)
    wrong: list[Problem] = field(default_factory=list)

    def ready(self) -> list[str]:
        return self.reasons

    def problems(self) -> list[Problem]:
        return self.wrong

    def status(self) -> Status:
        if self.broken:
            raise S3DError(f"cannot read {SECRET}", hint="look at the disk")
        return {
            "version": "1",
            "started_at": 1.0,
            "problems": [],
            "remote": {
                "endpoint": "http://127.0.0.1:9000",
                "state": "away",
                "since": 2.0,
                "credentials": "found",
                "refusal": self.refusal,
                "identities": [],
            },
            "pending": {
                "changes": 3,
                "bytes": 42,
                "oldest_age_seconds": 1.5,
                "parked": 1,
                "held": 0,
                "unjudged": 2,
                "kept_bytes": 7,
            },
            "states": {"waiting": 2, "parked": 1},
            "paused_lanes": 1,
            "keeps_push_filter": False,
            "read_cache": {
                "entries": 4,
                "bytes": 5,
                "usable": True,
                "decided": True,
                "pins": {"kept": 1, "waiting": 0, "over": 0},
            },
            "access_keys": 2,
            "files": {"settings": {"loaded_at": 1.0, "error": ""}, "access_keys": {"loaded_at": 1.0, "error": "wrong"}},
            "draining": False,
            "tls": None,
            "sync_folder": None,
            "sync_folders": [],
            "mount": None,
        }

    def bucket_status(self, bucket: str) -> BucketStatus:
        return {"bucket": bucket, "known": True, "writes": "queued", "pending": {"changes": 0, "bytes": 0}}

    def object_status(self, bucket: str, key: str) -> ObjectStatus:
        if self.broken:
            raise S3DError(f"cannot read {key}", hint="look at the disk")
        return {"bucket": bucket, "key": key, "state": "delivered", "changes": []}

    def lanes(self) -> list[LaneStatus]:
        return []

    def tried(self) -> list[TriedStatus]:
        return []

    def under_way(self) -> list[dict[str, Any]]:
        return [{"seq": 3, "key": SECRET}]

    def history(self) -> list[Sample]:
        return [{"at": 1.0, "changes": 2, "bytes": 3, "requests": 4, "failed": 5, "delivered": 6}]

    def kept(self, chosen: Chosen) -> list[dict[str, Any]]:
        self.chosen.append(chosen)
        return [{"seq": 1, "key": SECRET}]

    def why(self, seq: int) -> dict[str, Any]:
        return {"change": {"seq": seq, "key": SECRET}, "rule": "", "asked": []}

    def body(self, seq: int) -> Body | None:
        if seq != 1:
            raise S3Error("NoSuchChange", status=404)
        return BytesBody(b"body")

    async def retry(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"changes": 1}

    async def discard(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"changes": 2}

    async def sync_look(self, what: str, which: str, path: str, after: str) -> dict[str, Any]:
        return {"differences": []}

    def sync_lists(self, which: str) -> dict[str, Any]:
        return {"left": [{"path": SECRET, "reason": ""}], "trash": []}

    async def sync(self, what: str, which: str) -> dict[str, Any]:
        return {"what": what}

    async def sync_restore(self, id: str, which: str) -> dict[str, Any]:  # noqa: A002
        return {"id": id}

    async def flush(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"changes": 3}

    def cached(self, chosen: Chosen) -> list[dict[str, Any]]:
        return [{"id": 1, "bucket": chosen.bucket, "key": chosen.prefix}]

    async def verify_cached(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"entries": 1, "blocks": 2, "bytes": 3, "damaged": [], "after": 1, "block": 0, "done": True}

    async def drop_cached(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"entries": 1, "bytes": 2}

    def unpublished(self, chosen: Chosen) -> list[dict[str, Any]]:
        return [{"key": SECRET}]

    async def publish(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"published": 1, "left": []}

    def set_log_level(self, level: str) -> dict[str, Any]:
        if level == "loud":
            raise S3DError("there is no such level")
        return {"level": level}

    async def prestop(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {}


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


@dataclass
class Client:
    doors: Doors

    async def tcp(self, path: str, method: str = "GET", **headers: str) -> Answer:
        host, port = self.doors.addresses[0]
        return await asyncio.to_thread(ask, http.client.HTTPConnection(host, port, timeout=60), method, path, headers)

    async def unix(self, path: str, method: str = "GET") -> Answer:
        return await asyncio.to_thread(ask, UnixConnection(str(self.doors.path)), method, path, {})


def ask(connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]) -> Answer:
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


@asynccontextmanager
async def doors(local_dir: Path, reports: Told | None = None, metrics: Metrics | None = None) -> AsyncIterator[Client]:
    gateway = Gateway(local_dir=local_dir, metrics_endpoint="http://127.0.0.1:0")
    async with server.serve(reports or Told(), gateway, metrics or Metrics()) as opened:
        yield Client(opened)
