"""A proxy in front of a remote that answers some requests itself, as a remote does that refuses them.

It runs in a thread of its own and has rules: the first whose method and path fit decides. A rule has `path` (how the
path begins), and may have `method`, `status`, `code` and `message` (the refusal; without a status the request is passed
on), `delay` (seconds before either), `held` (it waits for other rules, which then decide), `date` (seconds that the
Date of a refusal is ahead), `skew` (it refuses only what is signed for a time that is more than 900 s from that date)
and `without` (a header that is not passed on).
"""

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.processes import free_port
from tests.remotes import Remote

Rule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusing:
    """A remote behind the proxy."""

    remote: Remote
    """As s3d reaches it."""
    proxy: "Proxy"

    def set(self, *rules: Rule) -> None:
        """Set the rules; none: everything passes."""
        self.proxy.rules = rules

    def seen(self) -> list[str]:
        """Method and path of every request that was refused or passed on, in order."""
        return [*self.proxy.seen]


Refuse = Callable[[Remote], Refusing]


@pytest.fixture
def refusing() -> Iterator[Refuse]:
    """Put proxies in front of remotes."""
    with ExitStack() as proxies:

        def put_before(remote: Remote) -> Refusing:
            proxy = Proxy(remote.endpoint, free_port())
            proxies.callback(proxy.end)
            proxy.start()
            return Refusing(replace(remote, endpoint=f"http://127.0.0.1:{proxy.port}"), proxy)

        yield put_before


class Proxy:
    """The proxy itself."""

    def __init__(self, target: str, port: int) -> None:
        self.target = target
        self.port = port
        self.rules: tuple[Rule, ...] = ()
        self.seen: list[str] = []
        self._started, self._ends = threading.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Listen, in a thread."""
        self._thread.start()
        self._started.wait()

    def end(self) -> None:
        """Break all connections and listen no more. Does nothing where it has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ends.set)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        server = web.Server(self.serve, auto_decompress=False)
        listener = await self._loop.create_server(server, "127.0.0.1", self.port)
        self._started.set()
        await self._ends.wait()
        listener.close()
        await server.shutdown(0.01)  # 0 would wait for what is delayed

    def _rule(self, method: str, path: str) -> Rule:
        return next((rule for rule in self.rules if fits(rule, method, path)), {})

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.raw_path
        body = await request.content.read()
        while (rule := self._rule(request.method, path)).get("held"):  # noqa: ASYNC110 (another thread sets the rules)
            await asyncio.sleep(0.01)
        await asyncio.sleep(rule.get("delay", 0))
        self.seen.append(f"{request.method} {path} {rule.get('code', '')}".strip())
        if "status" in rule and skewed(rule, request.headers.get("x-amz-date", "")):
            return refusal(rule)
        headers = request.headers.copy()
        headers.popall(rule.get("without", ""), None)
        async with (
            aiohttp.ClientSession(
                auto_decompress=False, skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
            ) as session,
            session.request(
                request.method,
                URL(self.target + path, encoded=True),
                headers=headers,
                data=io.BytesIO(body) if body else None,
                allow_redirects=False,
            ) as answer,
        ):
            data = await answer.read()
            given = answer.headers.copy()
            for name in ("Transfer-Encoding", "Connection", "Keep-Alive"):
                given.popall(name, None)
            if request.method == "HEAD":
                response = web.StreamResponse(status=answer.status, headers=given)
                await response.prepare(request)
                return response
            given.popall("Content-Length", None)
            return web.Response(status=answer.status, headers=given, body=data)


def fits(rule: Rule, method: str, path: str) -> bool:
    """Whether a rule is for a request."""
    return bool(path.startswith(rule["path"])) and rule.get("method", method) == method


def skewed(rule: Rule, signed_at: str) -> bool:
    """Whether a rule refuses a request that is signed for this time."""
    if not rule.get("skew"):
        return True
    signed = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return bool(abs(signed.timestamp() - time.time() - rule["date"]) > 900)


def refusal(rule: Rule) -> web.Response:
    """The answer of a rule."""
    message = rule.get("message", "as the test has it")
    document = f"<Error><Code>{rule['code']}</Code><Message>{message}</Message></Error>"
    date = formatdate(time.time() + rule.get("date", 0), usegmt=True)
    return web.Response(status=rule["status"], text=document, content_type="application/xml", headers={"Date": date})
