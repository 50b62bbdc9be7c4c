"""The servers of a run: s3d, the S3 servers it is compared with, and the limits; each on a free loopback port.

A server that this machine does not have is left out, and the table says so.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.daemons import ROOT
from tests.processes import Program, free_port, start, wait_for_http
from tests.remotes import REGION, cache_dir, client, credentials

TICKS = os.sysconf("SC_CLK_TCK")
KEY, SECRET = "benchmark", "benchmarksecret"
NGINX = """
daemon off; master_process off; pid nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off; sendfile on; keepalive_requests 1000000000;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    proxy_cache_path cache levels=1:2 keys_zone=bench:10m max_size=10g inactive=1h use_temp_path=off;
    upstream remote {{ server 127.0.0.1:{remote}; keepalive 16; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://remote; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Host $http_host;
            proxy_cache bench; proxy_cache_key $uri; proxy_cache_valid 200 1s; proxy_cache_revalidate on;
        }}
    }}
}}
"""
"""One process, as s3d is one. What is presigned says so in the query, which is no part of the key."""


@dataclass(slots=True)
class Server:
    """A running server, and what its process has used."""

    name: str
    program: Program
    port: int
    metrics_port: int = 0
    ready: float = 0.0
    """Seconds from its start to its first answer."""
    idle: int = 0
    """Bytes that are resident before the first load."""

    @property
    def endpoint(self) -> str:
        """Where it speaks S3."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> Any:
        """A stock client of it."""
        return client(
            self.endpoint, KEY, SECRET, request_checksum_calculation="when_required", signature_version="s3v4"
        )

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.program.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, what: str) -> int:
        """VmRSS or VmHWM in bytes."""
        found = re.search(rf"^{what}:\s+(\d+) kB$", Path(f"/proc/{self.program.pid}/status").read_text(), re.MULTILINE)
        if found is None:
            raise RuntimeError(f"{self.name} has ended")
        return int(found[1]) * 1024

    def stop(self) -> None:
        """End it."""
        self.program.kill()


@dataclass(slots=True)
class Place:
    """The directory of a run, and everything that it started."""

    directory: Path
    servers: list[Server] = field(default_factory=list)

    def new(self, name: str) -> Path:
        """A new directory."""
        path = self.directory / f"{name}-{secrets.token_hex(3)}"
        path.mkdir()
        return path

    def limit(self, *, durable: bool = False) -> Server:
        """The least there is: HTTP and nothing else, or HTTP and a commit."""
        directory, port = self.new("limit"), free_port()
        command = [sys.executable, "-m", "e2e.bench.limit", str(port), str(directory)]
        name = "bare durable" if durable else "bare"
        environment = {"PYTHONPATH": str(ROOT)}
        return self._start(name, [*command, "durable"] if durable else command, directory, environment, port)

    def versitygw(self) -> Server | None:
        """Versitygw over a directory; it does not sync."""
        program = cache_dir() / "bin" / "versitygw"
        if not program.exists():
            return None
        directory, port = self.new("versitygw"), free_port()
        (directory / "data").mkdir()
        listen = ("--port", f"127.0.0.1:{port}", "--region", REGION, "--keep-alive", "--quiet")
        command = [str(program), "--access", KEY, "--secret", SECRET, *listen, "posix", str(directory / "data")]
        return self._start("versitygw", command, directory, {}, port)

    def minio(self) -> Server | None:
        """MinIO over a directory; it syncs."""
        program = cache_dir() / "bin" / "minio"
        if not program.exists():
            return None
        directory, port = self.new("minio"), free_port()
        listen = ("--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{free_port()}")
        environment = {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_UPDATE": "off"}
        command = [str(program), "server", "--quiet", *listen, str(directory / "data")]
        return self._start("MinIO", command, directory, environment, port)

    def rclone(self) -> Server | None:
        """`rclone serve s3` over a directory with its cache in full; it does not sync."""
        program = shutil.which("rclone")
        if program is None or not serves_s3(program):
            return None
        directory, port = self.new("rclone"), free_port()
        (directory / "data").mkdir()
        cache = ("--vfs-cache-mode", "full", "--cache-dir", str(directory / "cache"))
        keys = ("--auth-key", f"{KEY},{SECRET}")
        command = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", *keys, *cache, str(directory / "data")]
        return self._start("rclone", command, directory, {}, port)

    def nginx(self, remote: Server) -> Server | None:
        """Nginx in front of `remote`, with a cache that answers for a second without asking."""
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            return None
        directory, port = self.new("nginx"), free_port()
        (directory / "nginx.conf").write_text(NGINX.format(port=port, remote=remote.port))
        command = [program, "-p", str(directory), "-e", "error.log", "-c", "nginx.conf"]
        return self._start("nginx", command, directory, {}, port)

    def trouble(self, remote: Server) -> Server:
        """What stands before `remote`, and fails or hangs now and then."""
        directory, port = self.new("trouble"), free_port()
        command = [sys.executable, "-m", "e2e.bench.trouble", str(port), str(remote.port)]
        return self._start("trouble", command, directory, {"PYTHONPATH": str(ROOT)}, port)

    def s3d(self, remote: Server, local: Path | None = None, name: str = "s3d", **settings: str) -> Server:
        """The daemon in front of `remote`, on a new local dir or on `local`."""
        local = local or self.new("s3d")
        port, metrics_port = free_port(), free_port()
        environment = {
            "PYTHONPATH": str(ROOT / "sidecar"),
            "S3_ENDPOINT": remote.endpoint,
            "S3D_LOCAL_DIR": str(local),
            "S3D_ENDPOINT": f"http://127.0.0.1:{port}",
            "S3D_METRICS_ENDPOINT": f"http://127.0.0.1:{metrics_port}",
            "S3D_DRAIN_SECONDS": "0",
            **credentials(KEY, SECRET),
            **settings,
        }
        command = [sys.executable, "-m", "s3d.cli", "run"]
        ready = f"http://127.0.0.1:{metrics_port}/readyz"
        return self._start(name, command, local, environment, port, metrics_port, ready)

    def stop(self) -> None:
        """End everything."""
        for server in self.servers:
            server.stop()
        self.servers.clear()

    def _start(
        self,
        name: str,
        command: list[str],
        directory: Path,
        environment: dict[str, str],
        port: int,
        metrics_port: int = 0,
        ready: str = "",
    ) -> Server:
        started = time.monotonic()
        server = Server(name, start(command, directory / "log", environment, directory), port, metrics_port)
        self.servers.append(server)
        wait_for_http(server.program, ready or server.endpoint, status=200 if ready else None)
        server.ready = time.monotonic() - started
        server.idle = server.memory("VmRSS")
        return server


def serves_s3(program: str) -> bool:
    """Whether an rclone is new enough (1.65)."""
    said = subprocess.run([program, "serve", "s3", "--help"], capture_output=True, text=True, timeout=30, check=False)
    return "--auth-key" in said.stdout
