"""Asks Open Policy Agent by its REST data API: `POST /v1/data/PATH` (SEMANTICS F-3).

A boolean is a decision. Anything else is none: an undefined result (as before a bundle is loaded), a result that is no
boolean, an error, a document that is too large, an answer that does not come in time. Decisions are remembered for a
moment, by question; what is none never is. A question holds no secret (policy.py), and neither does what is logged.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import aiohttp

from s3d import documents, files
from s3d.bounded import BoundedMap
from s3d.errors import ConfigError
from s3d.metrics import Metrics
from s3d.policy import Answer, Question, Verdict
from s3d.settings import Opa as Settings
from s3d.watched import Watched

log = logging.getLogger(__name__)

MAX_ANSWER = 64 << 10
"""Bytes of an answer; a boolean and its decision's id are far below that."""
MAX_FILE = 1 << 20
"""Bytes of a file with a token or certificates."""
MAX_ID = 100
"""Characters of a decision's id that are kept."""
MAX_REMEMBERED = 4096
"""Decisions that are remembered."""
FRESH_SECONDS = 5.0
"""Seconds for which they are."""
MAX_CONNECTIONS = 16


class Files(NamedTuple):
    """What the files of the settings hold."""

    ca: bytes
    token: bytes


class Opa:
    """The client of one OPA. Where it is, which rule is asked, and how long it may take are looked up each time."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Read the files. Raises ConfigError."""
        self._settings = settings
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None
        self._of = ""
        """The URL that the session is for."""
        self._known: BoundedMap[tuple[str, str, Question], tuple[float, Answer]] = BoundedMap(MAX_REMEMBERED)
        self._token = ""
        self._ca: ssl.SSLContext | None = None
        self.watched: Watched[Files] | None = None
        """The files; None where there are none."""
        if settings.ca or settings.token_file:
            data = self._read()
            self._take(data)
            where = ", ".join(str(path) for path in (settings.ca, settings.token_file) if path)
            self.watched = Watched("opa", where, self._read, self._take, seen=data)

    def _read(self) -> Files:
        settings = self._settings
        return Files(
            files.read(settings.ca, MAX_FILE) if settings.ca else b"",
            files.read_secret(settings.token_file, MAX_FILE) if settings.token_file else b"",
        )

    def _take(self, data: Files) -> str:
        ca = context_of(data.ca) if self._settings.ca else None
        self._token = token_of(data.token) if self._settings.token_file else ""
        self._ca = ca
        # Connections that begin from now on are made with it.
        self._of = ""
        return "the token and the certificates"

    async def __call__(self, question: Question) -> Answer:
        """What the policy says of what is to leave. It never fails: what goes wrong is no decision."""
        return await self._decide(self._settings.path, question)

    async def for_cache(self, question: Question) -> Answer:
        """The same of what the read cache is to keep, by a rule of its own."""
        return await self._decide(self._settings.cache_path or "", question)

    async def _decide(self, path: str, question: Question) -> Answer:
        settings = self._settings
        asked = (settings.url or "", path, question)
        known = self._known.get(asked)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        began = time.monotonic()
        try:
            async with asyncio.timeout(settings.timeout):
                result, answer = await self._ask(*asked)
        except TimeoutError:
            why = f"OPA gave no answer within {settings.timeout:g} s"
            result, answer = "timeout", Answer(Verdict.NONE, why=why, is_reached=False)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = f"OPA cannot be reached ({type(error).__name__})"
            result, answer = "error", Answer(Verdict.NONE, why=why, is_reached=False)
        self._metrics.opa_requests.labels(result).inc()
        self._metrics.opa_duration.observe(time.monotonic() - began)
        if answer.verdict is not Verdict.NONE:
            self._known[asked] = (began + FRESH_SECONDS, answer)
        return answer

    async def _ask(self, url: str, path: str, question: Question) -> tuple[str, Answer]:
        """The answer to a question, and how it is counted."""
        session = await self._connected(url)
        base = "http://opa" if urlsplit(url).scheme == "unix" else url
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        where = f"{base}/v1/data/{quote(path)}"
        body = f'{{"input": {question}}}'.encode()
        async with session.post(where, data=body, headers=headers, allow_redirects=False) as response:
            document = await response.content.read(MAX_ANSWER + 1)
            while len(document) <= MAX_ANSWER and (more := await response.content.read(MAX_ANSWER + 1)):
                document += more
            return answer_of(response.status, document)

    async def _connected(self, url: str) -> aiohttp.ClientSession:
        if self._session is not None and self._of == url:
            return self._session
        parts = urlsplit(url)
        connector: aiohttp.BaseConnector
        if parts.scheme == "unix":
            connector = aiohttp.UnixConnector(parts.path, limit=MAX_CONNECTIONS)
        else:
            connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=self._ca or True)
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        before, self._session, self._of = self._session, session, url
        if before is not None:
            await before.close()
        return session

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


@contextlib.asynccontextmanager
async def connect(settings: Settings, metrics: Metrics) -> AsyncIterator[Opa]:
    """The client of the OPA in the settings. Raises ConfigError."""
    opa = await asyncio.to_thread(Opa, settings, metrics)
    try:
        yield opa
    finally:
        await opa.aclose()


def answer_of(status: int, document: bytes) -> tuple[str, Answer]:
    """What an answer of OPA says, and how it is counted."""
    if status != HTTPStatus.OK:
        return "error", Answer(Verdict.NONE, why=f"OPA answered with status {status}")
    if len(document) > MAX_ANSWER:
        return "error", Answer(Verdict.NONE, why=f"OPA answered with more than {MAX_ANSWER} bytes")
    try:
        said: Any = documents.parse(document)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return "error", Answer(Verdict.NONE, why="what answered is not OPA: it sent no JSON object")
    decision = said.get("decision_id")
    decision = decision[:MAX_ID] if isinstance(decision, str) else ""
    if said.get("result") is True:
        return "allow", Answer(Verdict.ALLOW, decision)
    if said.get("result") is False:
        return "deny", Answer(Verdict.DENY, decision)
    why = "the result is no boolean" if "result" in said else "the result is undefined"
    return "undefined", Answer(Verdict.NONE, decision, why)


def context_of(pem: bytes) -> ssl.SSLContext:
    """What trusts the CAs in a file of PEM, and no others. Raises ConfigError."""
    try:
        return ssl.create_default_context(cadata=pem.decode("ascii"))
    except (ValueError, ssl.SSLError):
        raise ConfigError("S3D_OPA_CA holds no certificates in PEM") from None


def token_of(data: bytes) -> str:
    """The token in a file. Raises ConfigError, which does not show it."""
    token = data.decode(errors="replace").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError("S3D_OPA_TOKEN_FILE holds no token: one word of printable ASCII is one")
    return token
