"""Who may see the pages, and what is answered to whom.

The server listens on the loopback address. A page is shown to a browser that has the token of this run: the address
that is printed has it, and the answer makes it a cookie. A page of somebody else's can neither read an answer nor send
a form: requests must name this host, and forms must come from a page of ours. No script is run, and none is needed.
"""

import argparse
import asyncio
import hmac
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from s3d import words
from s3d.cli import terminal
from s3d.cli.ui import views
from s3d.errors import ConfigError, S3DError, S3Error
from s3d.page.rendering import HEADERS, render, style

COOKIE = "s3d-ui"
LOOPBACK = "127.0.0.1"
HOSTS = frozenset(["127.0.0.1", "localhost", "[::1]"])
"""Names by which a browser reaches us; any other is a name of somebody else's that leads here (DNS rebinding)."""
MAX_FORM = 4096
"""Bytes of a form."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def ui(options: argparse.Namespace) -> int:
    """Serve the pages until somebody ends it."""
    asyncio.run(serve(options.port))
    return 0


async def serve(port: int) -> None:
    """Listen, and say where. Raises ConfigError where the port is taken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    pages = Pages(secrets.token_urlsafe(32))
    runner = web.AppRunner(pages.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listening(port)).start()
        where = f"http://{LOOPBACK}:{runner.addresses[0][1]}/?token={pages.token}"
        if terminal.is_terminal():
            sys.stdout.write(f"open {where}\nCtrl-C ends it.\n")
        else:
            terminal.print_fields(where)
        sys.stdout.flush()
        await stop.wait()
    finally:
        await runner.cleanup()


def listening(port: int) -> socket.socket:
    """A socket on the loopback address. Raises ConfigError."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {LOOPBACK}:{port}: {error.strerror}",
            hint="--port names another one; 0: any that is free",
        ) from None


class Pages:
    """The pages, and who may see them."""

    def __init__(self, token: str) -> None:
        """Take the secret of this run."""
        self.token = token
        # Another secret: it stands on the pages, and the cookie's does not.
        self._form = secrets.token_urlsafe(32)

    def app(self) -> web.Application:
        """What is served."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guarded(request, handler)

        app = web.Application(middlewares=[guarded], client_max_size=MAX_FORM)
        app.router.add_get("/", self._home)
        app.router.add_get("/style.css", self._css)
        app.router.add_get("/discard", self._ask)
        app.router.add_post("/retry", self._retry)
        app.router.add_post("/discard", self._discard)
        return app

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await self._admitted(request, handler)
        except web.HTTPException as error:
            # Its own text may repeat what was asked.
            response = self._wrong(error.status, HTTPStatus(error.status).phrase, "")
            response.headers.extend({name: error.headers[name] for name in ("Allow",) if name in error.headers})
        except S3DError as error:
            status = error.status if isinstance(error, S3Error) else 503
            response = self._wrong(status, error.message, error.hint)
        response.headers.update(HEADERS)
        return response

    async def _admitted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.host.rpartition(":")[0] not in HOSTS and request.host not in HOSTS:
            return self._wrong(421, "This is not the host that was asked for", f"open http://{LOOPBACK}")
        if request.path == "/" and same(request.query.get("token", ""), self.token):
            response = web.Response(status=303, headers={"Location": "/"})
            response.set_cookie(COOKIE, self.token, httponly=True, samesite="Strict", path="/")
            return response
        if request.path != "/style.css" and not same(request.cookies.get(COOKIE, ""), self.token):
            return self._wrong(403, "This page is shown to whoever has its address", "open what `s3d ui` has printed")
        if request.method == "POST" and not same(str((await request.post()).get("form", "")), self._form):
            return self._wrong(403, "This form is not of this page", "open the page again")
        return await handler(request)

    async def _home(self, _: web.Request) -> web.Response:
        return self._page("status.html", page=await asyncio.to_thread(views.page), said="")

    async def _css(self, _: web.Request) -> web.Response:
        return web.Response(body=style(), content_type="text/css", charset="utf-8")

    async def _ask(self, request: web.Request) -> web.Response:
        change = await asyncio.to_thread(views.change, number(request.query.get("seq", "")))
        if change is None:
            return self._wrong(404, "This change waits for nobody any more", "")
        return self._page("discard.html", change=change)

    async def _retry(self, request: web.Request) -> web.Response:
        seq = str((await request.post()).get("seq", ""))
        return await self._done(views.retry, number(seq) if seq else None)

    async def _discard(self, request: web.Request) -> web.Response:
        return await self._done(views.discard, number(str((await request.post()).get("seq", ""))))

    async def _done(self, act: Callable[[Any], str], seq: int | None) -> web.Response:
        """Do something, and show the page with what came of it."""
        said = await asyncio.to_thread(act, seq)
        return self._page("status.html", page=await asyncio.to_thread(views.page), said=said)

    def _page(self, name: str, status: int = 200, **values: object) -> web.Response:
        html = render(name, form=self._form, **values)
        return web.Response(status=status, body=html, content_type="text/html", charset="utf-8")

    def _wrong(self, status: int, text: str, hint: str) -> web.Response:
        return self._page("wrong.html", status, text=words.printable(text), hint=words.printable(hint))


def same(given: str, secret: str) -> bool:
    """Whether what was given is the secret, in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


def number(text: str) -> int:
    """The number of a change. Raises S3Error."""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(2**63)):
        raise S3Error("InvalidRequest", "There is no such change", status=400)
    return int(text)
