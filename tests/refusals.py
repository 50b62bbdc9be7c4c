"""A proxy in front of a remote that answers some requests itself, as a remote does that refuses them.

It runs as a process of its own and takes its rules as JSON: the first whose method and path fit decides. A rule has
`path` (how the path begins), and may have `method`, `status`, `code` and `message` (the refusal; without a status the
request is passed on), `delay` (seconds before either), `date` (seconds that the Date of a refusal is ahead), `skew` (it
refuses only what is signed for a time that is more than 900 s from that date) and `without` (a header that is not
passed on).
"""

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.processes import Program, free_port, running, start, wait_for_http
from tests.remotes import Remote

ROOT = Path(__file__).parent.parent
CONTROL = "/-/rules"
Rule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusing:
    """A remote behind the proxy."""

    remote: Remote
    """As s3d reaches it."""
    program: Program

    def set(self, *rules: Rule) -> None:
        """Set the rules; none: everything passes."""
        self._ask(json.dumps(rules).encode())

    def seen(self) -> list[str]:
        """Method and path of every request that was refused or passed on, in order."""
        answer: list[str] = self._ask(None)
        return answer

    def _ask(self, body: bytes | None) -> Any:
        request = urllib.request.Request(self.remote.endpoint + CONTROL, body, method="PUT" if body else "GET")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


Refuse = Callable[[Remote], Refusing]


@pytest.fixture
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refuse]:
    """Put proxies in front of remotes."""
    with ExitStack() as programs:

        def put_before(remote: Remote) -> Refusing:
            log = tmp_path_factory.mktemp("refusals") / "log"
            port = free_port()
            command = [sys.executable, "-m", "tests.refusals", remote.endpoint, str(port)]
            program = programs.enter_context(running(start(command, log, {"PYTHONPATH": str(ROOT)}, cwd=ROOT)))
            endpoint = f"http://127.0.0.1:{port}"
            wait_for_http(program, endpoint + CONTROL, status=200)
            return Refusing(replace(remote, endpoint=endpoint), program)

        yield put_before


class Proxy:
    """The proxy itself."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.rules: list[Rule] = []
        self.seen: list[str] = []

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.raw_path
        if path == CONTROL:
            if request.method == "PUT":
                self.rules = await request.json()
            return web.json_response(self.seen)
        rule = next((rule for rule in self.rules if fits(rule, request.method, path)), {})
        body = await request.content.read()
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
                request.method, URL(self.target + path, encoded=True), headers=headers, data=body, allow_redirects=False
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


async def main(target: str, port: int) -> None:
    """Serve for ever."""
    server = web.Server(Proxy(target).serve, auto_decompress=False)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].rstrip("/"), int(sys.argv[2])))
