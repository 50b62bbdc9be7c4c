"""The sockets of the doors: where they are, who may open them, how many may come, and when they go."""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from s3d.admin import server
from s3d.errors import ConfigError
from s3d.metrics import Metrics
from s3d.settings import Gateway
from tests.sidecar.admin.doors import Told, UnixConnection, ask, doors


@contextmanager
def in_directory(path: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.semantics("A-7")
async def test_only_the_owner_may_open_the_unix_socket(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with doors(tmp_path) as client:
            assert stat.S_IMODE(client.doors.path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_a_socket_that_a_dead_process_left_is_replaced_and_ours_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s3d.sock"
    with socket.socket(socket.AF_UNIX) as dead, in_directory(tmp_path):
        dead.bind("s3d.sock")
    async with doors(tmp_path) as client:
        assert (await client.unix("/healthz")).status == 200
    assert not path.exists()


async def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s3d.sock"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="in the way"):
        async with doors(tmp_path):
            pass
    assert path.read_text() == "mine"


async def test_a_local_dir_with_a_path_longer_than_the_kernel_takes_has_its_socket(tmp_path: Path) -> None:
    long = tmp_path.joinpath(*["d" * 60] * 3)
    long.mkdir(parents=True)
    async with doors(long) as client:
        assert client.doors.path.is_socket()
        with in_directory(long):
            assert (await asyncio.to_thread(ask, UnixConnection("s3d.sock"), "GET", "/healthz", {})).status == 200
    assert not (long / "s3d.sock").exists()


async def test_an_address_that_is_taken_is_an_error_for_the_person(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match="S3D_METRICS_ENDPOINT: cannot listen on") as caught:
            async with server.serve(Told(), Gateway(local_dir=tmp_path, metrics_endpoint=endpoint), Metrics()):
                pass
    assert caught.value.hint
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240


async def test_localhost_is_every_loopback_address_that_the_machine_has(tmp_path: Path) -> None:
    gateway = Gateway(local_dir=tmp_path, metrics_endpoint="http://localhost:0")
    async with server.serve(Told(), gateway, Metrics()) as opened:
        assert {host for host, _ in opened.addresses} <= {"127.0.0.1", "::1"}
        assert "127.0.0.1" in {host for host, _ in opened.addresses}


async def test_a_client_that_sends_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTION_SECONDS", 0.05)
    async with doors(tmp_path) as client:
        reader, writer = await asyncio.open_connection(*client.doors.addresses[0])
        writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_of_too_many_connections_the_oldest_without_a_request_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    async with doors(tmp_path) as client:
        address = client.doors.addresses[0]
        first, second = await asyncio.open_connection(*address), await asyncio.open_connection(*address)
        third = await asyncio.open_connection(*address)
        with contextlib.suppress(ConnectionError):
            assert await first[0].read() == b""
        for reader, writer in (second, third):
            writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b"ok" in await reader.read()
        for _, writer in (first, second, third):
            writer.close()


@pytest.mark.semantics("A-6a")
async def test_whoever_holds_connections_keeps_no_probe_out(tmp_path: Path) -> None:
    async with doors(tmp_path) as client:
        held = [await asyncio.open_connection(*client.doors.addresses[0]) for _ in range(3 * server.MAX_CONNECTIONS)]
        for _ in range(20):
            assert (await client.tcp("/healthz")).status == 200
        for _, writer in held:
            writer.close()


def test_the_doors_open_and_close_on_uvloop(tmp_path: Path) -> None:
    async def visit() -> tuple[int, int]:
        async with doors(tmp_path) as client:
            return (await client.tcp("/healthz")).status, (await client.unix("/status?bucket=b&key=k")).status

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(visit()) == (200, 200)
    assert not (tmp_path / "s3d.sock").exists()
