"""Which path of a door answers what.

Both doors answer from what the daemon knows: no answer in here waits for the remote. What names buckets or keys, and
what changes anything, is answered on the unix socket only (SEMANTICS A-7).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qs

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from s3d import targets
from s3d.admin.gauges import show
from s3d.admin.reports import Chosen, Reports, Status
from s3d.errors import S3DError, S3Error
from s3d.history import INTERVAL
from s3d.metrics import Metrics

SOCKET_NAME = "s3d.sock"
LASTING: set[asyncio.BaseProtocol] = set()
"""Connections over which something large is sent just now: they may last."""
SYNC = {f"/sync{what}" for what in ("", "/status", "/diff", "/conflicts", "/check", "/why", "/do", "/restore")}
Response = TypeVar("Response", bound=web.StreamResponse)


def handler(
    reports: Reports, metrics: Metrics, *, shows_keys: bool
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """The handler of one door."""
    changing = {
        "/queue/retry": reports.retry,
        "/queue/discard": reports.discard,
        "/flush": reports.flush,
        "/prestop": reports.prestop,
        "/cache/drop": reports.drop_cached,
        "/cache/verify": reports.verify_cached,
        "/mount/publish": reports.publish,
    }

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        # As sent: a key that a URL library has normalised is another key.
        _, path, query = targets.split(request.raw_path)
        change = changing.get(path) if shows_keys else None
        posts = change or (shows_keys and path in ("/log", "/sync/do", "/sync/restore"))
        allowed = ("POST",) if posts else ("GET", "HEAD")
        if request.method not in allowed:
            return finish(answer(405, {"error": f"{request.method} is not allowed"}, Allow=", ".join(allowed)))
        if change:
            return finish(await asked(query, change))
        match path:
            case "/":
                return finish(await home(reports))
            case "/style.css":
                return finish(await style())
            case "/healthz":
                return finish(web.Response(text="ok\n"))
            case "/readyz":
                return finish(readiness(reports))
            case "/metrics":
                return finish(await scrape(reports, metrics, request.headers.get("Accept", "")))
            case "/status":
                return finish(report(reports, query, shows_keys=shows_keys))
            case "/log" if shows_keys:
                return finish(log_level(reports, query))
            case "/queue" if shows_keys:
                return finish(await asked(query, partial(list_kept, reports)))
            case "/queue/under-way" if shows_keys:
                return finish(await asked("", partial(list_under_way, reports)))
            case "/history" if shows_keys:
                return finish(answer(200, {"interval_seconds": INTERVAL, "samples": reports.history()}))
            case "/queue/why" if shows_keys:
                return finish(await asked(query, partial(explain, reports)))
            case "/cache" if shows_keys:
                return finish(await asked(query, partial(list_cached, reports)))
            case _ if path in SYNC and shows_keys:
                return finish(await do_sync(reports, path, query))
            case "/mount" if shows_keys:
                return finish(await asked(query, partial(list_unpublished, reports)))
            case "/queue/body" if shows_keys:
                return await send_body(request, reports, query)
            case _:
                return finish(answer(404, {"error": f"there is no {path[:100]}"}))

    return handle


def readiness(reports: Reports) -> web.Response:
    """Whether requests are taken, and what is wrong nevertheless, a line each."""
    reasons = reports.ready()
    lines = [*(reasons or ["ok"]), *(one.text for one in reports.problems() if one.text not in reasons)]
    return web.Response(status=503 if reasons else 200, text="\n".join(lines) + "\n")


async def home(reports: Reports) -> web.Response:
    """The status page, of counts alone on both doors."""
    try:
        said = reports.status()
    except S3DError:
        return answer(503, {"error": "the status cannot be read"})
    return await asyncio.to_thread(page, said, {"interval_seconds": INTERVAL, "samples": reports.history()})


def page(said: Status, history: dict[str, Any]) -> web.Response:
    """Make the page. In a thread: what makes pages is loaded for the first one."""
    from s3d.page import counts, rendering

    body = rendering.render("door.html", page=counts.read(said, history))
    return web.Response(body=body, headers=rendering.HEADERS, content_type="text/html", charset="utf-8")


async def style() -> web.Response:
    """The style sheet of the page."""
    from s3d.page import rendering

    body = await asyncio.to_thread(rendering.style)
    return web.Response(body=body, headers=rendering.HEADERS, content_type="text/css", charset="utf-8")


def log_level(reports: Reports, query: str) -> web.Response:
    """Set the lowest level that is logged."""
    try:
        return answer(200, reports.set_log_level(parse_qs(query).get("level", [""])[-1]))
    except S3DError as error:
        return answer(400, {"error": error.message, "hint": "it is debug, info, warning or error"})


async def asked(query: str, serve: Callable[[Chosen], Awaitable[Any]]) -> web.Response:
    """Answer a request about chosen changes."""
    try:
        return answer(200, await serve(choose(query)))
    except S3DError as error:
        return refused(error)


async def list_kept(reports: Reports, chosen: Chosen) -> dict[str, Any]:
    """A page of what waits for a person."""
    return {"changes": reports.kept(chosen)}


async def list_under_way(reports: Reports, _: Chosen) -> dict[str, Any]:
    """The oldest changes that are to be pushed."""
    return {"changes": reports.under_way()}


async def explain(reports: Reports, chosen: Chosen) -> dict[str, Any]:
    """What each rule says of a change."""
    return reports.why(chosen.seq or 0)


async def list_cached(reports: Reports, chosen: Chosen) -> dict[str, Any]:
    """A page of what is in the read cache."""
    return {"entries": reports.cached(chosen)}


async def do_sync(reports: Reports, path: str, query: str) -> web.Response:
    """Have a sync folder do something, give back a file of its trash, or say what both sides have."""
    said = {name: values[-1] for name, values in parse_qs(query).items()}
    which = said.get("folder", "")
    try:
        match path:
            case "/sync":
                return answer(200, reports.sync_lists(which))
            case "/sync/restore":
                return answer(200, await reports.sync_restore(said.get("id", ""), which))
            case "/sync/do":
                return answer(200, await reports.sync(said.get("what", ""), which))
            case _:
                what = path.removeprefix("/sync/")
                return answer(200, await reports.sync_look(what, which, said.get("path", ""), said.get("after", "")))
    except S3DError as error:
        return refused(error)


async def list_unpublished(reports: Reports, chosen: Chosen) -> dict[str, Any]:
    """What was written to the mount and is no object yet."""
    return {"files": reports.unpublished(chosen)}


async def send_body(request: web.BaseRequest, reports: Reports, query: str) -> web.StreamResponse:
    """Send the body of a change that waits for a person. Where it breaks off, so does the connection."""
    try:
        body = reports.body(choose(query).seq or 0)
    except S3DError as error:
        return finish(refused(error))
    if body is None:
        return finish(answer(404, {"error": "a delete has no body"}))
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    response.content_length = body.length
    finish(response)
    LASTING.add(request.protocol)
    try:
        blocks = body.chunks()
        # The first block before the head: an error that comes instead of it is still an answer.
        first = await anext(blocks, b"")
        await response.prepare(request)
        await response.write(first)
        async for block in blocks:
            await response.write(block)
        await response.write_eof()
    except S3DError as error:
        if not response.prepared:
            return finish(refused(error))
        if request.transport is not None:
            request.transport.abort()
    finally:
        LASTING.discard(request.protocol)
        await body.aclose()
    return response


def choose(query: str) -> Chosen:
    """Read which changes a request is about. Raises S3Error (400)."""
    names: dict[str, Callable[[str], Any]] = {"bucket": str, "prefix": str}
    names |= dict.fromkeys(("seq", "after", "upto", "block"), int)
    try:
        given = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=5)
        chosen = Chosen(**{name: names[name](values[-1]) for name, values in given.items()})
    except (ValueError, KeyError):
        raise S3Error("InvalidRequest", "the query cannot be read", hint=f"its names are {', '.join(names)}") from None
    if chosen.prefix and not chosen.bucket:
        raise S3Error("InvalidRequest", "a prefix is in a bucket", hint="?bucket=B&prefix=P")
    return chosen


async def scrape(reports: Reports, metrics: Metrics, accept: str) -> web.Response:
    """Answer with all metrics, in the format that the scraper asks for."""
    show(reports, metrics)
    encode, content_type = choose_encoder(accept)
    # In a thread: thousands of lines take longer than a request may wait for the loop.
    page = await asyncio.to_thread(encode, metrics.registry)
    return web.Response(body=page, headers={"Content-Type": content_type})


def report(reports: Reports, query: str, *, shows_keys: bool) -> web.Response:
    """Answer with the status of the daemon, of a bucket or of an object."""
    try:
        asked = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=2)
    except ValueError:
        return answer(400, {"error": "the query cannot be read", "hint": "/status?bucket=B&key=K"})
    bucket, key = asked.pop("bucket", [""])[-1], asked.pop("key", [""])[-1]
    if asked or (key and not bucket):
        return answer(400, {"error": "the query is not understood", "hint": "/status?bucket=B&key=K"})
    if bucket and not shows_keys:
        hint = f"ask over the unix socket, {SOCKET_NAME} in the local dir"
        return answer(403, {"error": "this door shows counts only", "hint": hint})
    try:
        if key:
            return answer(200, reports.object_status(bucket, key))
        if bucket:
            return answer(200, reports.bucket_status(bucket))
        status = reports.status()
        return answer(200, {**status, "lanes": reports.lanes(), "tried": reports.tried()} if shows_keys else status)
    except S3DError as error:
        return refused(error) if shows_keys else answer(503, {"error": "the status cannot be read"})


def refused(error: S3DError) -> web.Response:
    """The answer to a request that failed, in full: for the socket."""
    code = error.status if isinstance(error, S3Error) else 503
    return answer(code, {"error": error.message, "hint": error.hint})


def answer(status: int, value: Any, **headers: str) -> web.Response:
    """A JSON answer."""
    return web.Response(
        status=status,
        text=json.dumps(value, ensure_ascii=False) + "\n",
        headers=headers,
        content_type="application/json",
    )


def finish(response: Response) -> Response:
    """Mark an answer as the last of its connection, and as true for this moment only."""
    response.headers["Cache-Control"] = "no-store"
    response.force_close()
    return response
