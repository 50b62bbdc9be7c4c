"""The limit of this machine: aiohttp's low-level server on uvloop, which does nothing but HTTP.

    python -m e2e.bench.limit PORT DIRECTORY [durable]

A PUT is read and dropped; with `durable`, one of up to 1 MiB is committed to SQLite first, in groups, as s3d commits
(WAL, synchronous=FULL). A GET answers 4 KiB, or the file of DIRECTORY by its last name where there is one, by sendfile.
"""

import asyncio
import queue
import sys
import threading
from pathlib import Path

import apsw
import uvloop
from aiohttp import web

ANSWER = b"s" * 4096
LARGE = 1 << 20

Put = tuple[str, bytes, asyncio.Future[None]]


class Limit:
    """One server."""

    def __init__(self, directory: Path, puts: "queue.SimpleQueue[Put] | None") -> None:
        self.directory = directory
        self.puts = puts

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.method == "PUT":
            await self.take(request)
            return web.Response(headers={"ETag": '"0"'})
        file = self.directory / request.path.rpartition("/")[2]
        if "/large/" in request.path:
            return web.FileResponse(file)
        return web.Response(body=ANSWER)

    async def take(self, request: web.BaseRequest) -> None:
        """Read a body, and commit a small one."""
        if (request.content_length or 0) > LARGE:
            async for _ in request.content.iter_any():
                pass
            return
        body = await request.read()
        if self.puts is not None:
            future = asyncio.get_running_loop().create_future()
            self.puts.put((request.path, body, future))
            await future


def commit(directory: Path, puts: "queue.SimpleQueue[Put]", loop: asyncio.AbstractEventLoop) -> None:
    """Commit whatever has queued up, until cancelled."""
    db = apsw.Connection(str(directory / "limit.db"))
    db.pragma("journal_mode", "wal")
    db.execute("PRAGMA synchronous = FULL; CREATE TABLE put (id INTEGER PRIMARY KEY, key TEXT, body BLOB)")
    while True:
        group = [puts.get()]
        while not puts.empty():
            group.append(puts.get())
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO put (key, body) VALUES (?, ?)", [(key, body) for key, body, _ in group])
        db.execute("COMMIT")
        loop.call_soon_threadsafe(answer, [future for _, _, future in group])


def answer(futures: list[asyncio.Future[None]]) -> None:
    """Let the requests of a group go on."""
    for future in futures:
        if not future.done():
            future.set_result(None)


async def run(port: int, directory: Path, *, durable: bool) -> None:
    """Serve until cancelled."""
    puts: queue.SimpleQueue[Put] | None = queue.SimpleQueue() if durable else None
    if puts is not None:
        threading.Thread(target=commit, args=(directory, puts, asyncio.get_running_loop()), daemon=True).start()
    runner = web.ServerRunner(web.Server(Limit(directory, puts).handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1]), Path(sys.argv[2]), durable="durable" in sys.argv[3:]))
