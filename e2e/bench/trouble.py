"""A remote in trouble: what stands before a server, and of reads fails a tenth and hangs in another one.

    python -m e2e.bench.trouble PORT REMOTE_PORT

It passes everything on until it is told to begin.
"""

import asyncio
import itertools
import sys

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

BEGIN = "-/begin"
"""The path by which it is told."""
FAILS, HANGS, OF = 1, 2, 10
HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length")


class Trouble:
    """The server."""

    def __init__(self, remote: int, session: aiohttp.ClientSession) -> None:
        self.remote = remote
        self.session = session
        self.begun = False
        self.numbers = itertools.count()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path == f"/{BEGIN}":
            self.begun = True
            return web.Response()
        if self.begun and request.method in ("GET", "HEAD"):
            number = next(self.numbers) % OF
            if number == FAILS:
                return web.Response(status=503)
            if number == HANGS:
                await asyncio.sleep(3600)
        url = URL(f"http://127.0.0.1:{self.remote}{request.raw_path}", encoded=True)
        body = await request.read()
        async with self.session.request(
            request.method,
            url,
            headers=request.headers,
            data=body or None,
            skip_auto_headers=("Content-Type", "User-Agent"),
            allow_redirects=False,
        ) as answer:
            data = await answer.read()
            headers = answer.headers.copy()
            length = headers.get("Content-Length", "0")
            for name in HOP:
                headers.popall(name, None)
            if request.method == "HEAD":
                headers["Content-Length"] = length
            return web.Response(status=answer.status, headers=headers, body=data or None)


async def run(port: int, remote: int) -> None:
    """Serve until cancelled."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        runner = web.ServerRunner(web.Server(Trouble(remote, session).handle, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2])))
