"""Faults in front of any S3: outages, lost answers and late arrivals, and a journal of what passed."""

import asyncio
import base64
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

from multidict import CIMultiDict

from s3d.api import S3, Body, BytesBody, Call, Reply, read_all
from s3d.errors import S3Error, Unavailable
from s3d.layers.health import Health
from s3d.layers.judge import Judge
from s3d.protocol import encode
from tests.fakes.contents import md5

PREPARING = frozenset(["CreateMultipartUpload", "UploadPart", "UploadPartCopy", "AbortMultipartUpload"])
"""Calls that leave every object as it is."""
ARRIVING = frozenset(["PutObject", "DeleteObject"])
"""Calls whose late arrival is put right, where a newer change was pushed meanwhile."""
PUSHED = frozenset(["PutObject", "DeleteObject", "CompleteMultipartUpload"])
"""Calls by which a put or delete is delivered."""
REFUSED = "EntityTooLarge 400"
"""The fate of a change that is refused for good."""
REVOKED = "InvalidAccessKeyId 403"
"""The fate of what an identity asks whose keys are revoked."""
TAKEN = frozenset(["applied", "unanswered", "late", "gateway"])
"""Fates of what the store itself has taken."""
MUTATIONS = frozenset(
    """PutObject DeleteObject DeleteObjects CopyObject PutObjectTagging DeleteObjectTagging CreateMultipartUpload
    UploadPart UploadPartCopy CompleteMultipartUpload AbortMultipartUpload""".split()
)


@dataclass(slots=True)
class Journal:
    """What reached the remote, and what of it was wrong, over all lives of a gateway."""

    passed: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Operation, key, who asked (the User-Agent of a client's own request, else x-amz-meta-n) and what became of it."""
    wrong: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Keys of which a change was refused for good."""
    authors: dict[str, str] = field(default_factory=dict)
    """The identity of who asked, by the name under which its requests pass, or those that push what it wrote."""

    def fate(self, who: str) -> str:
        """What became of the last request of a client: applied, lost, late, refused; "" where none came here."""
        return next((fate for _, _, name, fate in reversed(self.passed) if name == who), "")

    def pushed_last(self, key: str, since: int) -> bool:
        """Whether the newest change of a key that the remote has was pushed, and is an object in whole or a delete, and
        came behind so much of what has passed."""
        passed = self.passed[since:]
        done = [one for one in passed if one[1] == key and one[0] not in PREPARING and one[3] == "applied"]
        operation, _, name, _ = done[-1] if done else ("", "", "", "")
        return operation in (*ARRIVING, "CompleteMultipartUpload") and not name.startswith(("client-", "foreign"))


@dataclass(frozen=True, slots=True)
class Gate:
    """Where the bytes of objects wait."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody wants some."""
    opened: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Held:
    """A request that the remote has and has not answered."""

    call: Call
    data: bytes
    answer: asyncio.Future[str]


class Flaky:
    """An S3 behind faults, as one process sees it. `fates` says what becomes of the next calls that change something.

    applied: nothing happens to it; unanswered: applied, and the answer is lost; lost: sent, and nobody has it; late:
    sent, unanswered, and it arrives when `arrive` says so; a code and status such as `SlowDown 503`: refused by that.
    Somebody else may answer: portal, a page to sign in by; ingress, whose backend is gone; gateway, which gives up on
    what is late (a client's own request is done by then).
    """

    def __init__(self, inner: S3, health: Health, journal: Journal) -> None:
        """Take the remote and the health that the gateway looks at."""
        self._inner = inner
        self._health = health
        self._journal = journal
        self._judge = Judge(self._passed)
        self._changing: dict[tuple[str, str], int] = {}
        self._held: list[Held] = []
        self.fates: deque[str] = deque()
        self.fate_of: dict[str, str] = {}
        """By key the fate of the next change that is pushed, before all others."""
        self.late: list[tuple[Call, int]] = []
        """What has not arrived yet, each with how much had passed when it was sent."""
        self.revoked: frozenset[str] = frozenset()
        """Identities whose keys the remote refuses."""
        self.gate: Gate | None = None
        """What the bytes of objects wait for; None: they come at once."""
        self.away = False
        self.stalled = False
        self.sluggish = False
        self.dead = False

    async def __call__(self, call: Call) -> Reply:
        """Hand a call on, or do to it what is its fate."""
        return await self._judge(call)

    async def _passed(self, call: Call) -> Reply:
        if self.away or self.dead:
            if call.body is not None:
                await call.body.aclose()
            self._health.failed("connection refused")
            raise Unavailable("connection refused")
        if call.operation not in MUTATIONS:
            if call.identity in self.revoked:
                return refusal(REVOKED, document=call.wire.method != "HEAD")
            reply = await self._inner(call)
            if self.gate is not None and isinstance(reply.body, BytesBody) and call.operation == "GetObject":
                reply.body = SlowBody(reply.body.data, self.gate)
            for _ in range(5 if self.sluggish else 0):
                await asyncio.sleep(0.001)
            return reply
        # The body's own checks come first: what they stop has not been sent.
        data = b"" if call.body is None else await read_all(call.body, 64 << 20)
        sums = {} if call.body is None else call.body.digests
        sent = replace(call, body=None if call.body is None else SentBody(data, sums))
        place = (call.bucket, call.key)
        ordered = call.key and call.operation not in PREPARING
        if ordered and self._changing.get(place):
            self._journal.wrong.append(f"two changes of {call.key} are under way at once")
        self._changing[place] = self._changing.get(place, 0) + 1
        try:
            return await self._met(sent, data)
        finally:
            self._changing[place] -= 1

    async def _met(self, call: Call, data: bytes) -> Reply:
        digest = call.wire.headers.get("Content-MD5")
        # A put with the digest of nothing asks the store a question: it cannot succeed.
        if digest and base64.b64decode(digest).hex() not in (md5(data), md5(b"")):
            self._journal.wrong.append(f"bytes of {call.key} are sent that do not match their digest")
        who = call.identity
        if who != self._journal.authors.get(name_of(call), who):
            self._journal.wrong.append(f"{call.operation} of {call.key} is sent by {who!r}, who has not asked for it")
        fate = self.fates.popleft() if self.fates else "applied"
        if call.key in self.fate_of and call.operation in PUSHED and not name_of(call).startswith("client-"):
            fate = self.fate_of.pop(call.key)
        if fate in ("late", "gateway") and call.operation not in ARRIVING:
            fate = "lost" if fate == "late" else "portal"
        if self.stalled:
            held = Held(call, data, asyncio.get_running_loop().create_future())
            self._held.append(held)
            try:
                fate = await held.answer or fate
            except asyncio.CancelledError:
                self._note(call, "lost")
                raise
            finally:
                self._held.remove(held)
        if who in self.revoked and fate in TAKEN:
            fate = REVOKED
        match fate:
            case "applied":
                reply = await self._inner(call)
                self._note(call, "applied" if reply.status < 300 else "refused")
                return reply
            case "unanswered":
                reply = await self._inner(call)
                self._note(call, "applied" if reply.status < 300 else "refused")
            case "lost":
                self._note(call, "lost")
            case "late":
                self._note(call, "late")
                self.late.append((call, len(self._journal.passed)))
            case "gateway" if name_of(call).startswith("client-"):
                reply = await self._inner(call)
                self._note(call, "applied" if reply.status < 300 else "refused")
                return page(504)
            case "gateway":
                self._note(call, "late")
                self.late.append((call, len(self._journal.passed)))
                return page(504)
            case "portal" | "ingress":
                self._note(call, "lost")
                return page(200 if fate == "portal" else 404)
            case _:
                self._note(call, "refused")
                if fate == REFUSED:
                    self._journal.refused.add(call.key)
                return refusal(fate)
        raise Unavailable("the connection was lost", sent=True)

    def _note(self, call: Call, fate: str) -> None:
        self._journal.passed.append((call.operation, call.key, name_of(call), fate))

    @property
    def holds(self) -> list[str]:
        """Keys of what the remote has and has not answered."""
        return [held.call.key for held in self._held]

    def leave(self) -> None:
        """Go away: what is under way is lost, the next call finds out."""
        self.away = True
        self.release("lost")

    def come_back(self) -> None:
        """Be there again."""
        self.away = False
        self._health.answered()

    def release(self, fate: str = "") -> None:
        """Answer what is held, with another fate where one is given, and hold nothing any more."""
        self.stalled = False
        for held in self._held:
            if not held.answer.done():
                held.answer.set_result(fate)

    async def die(self, *, arrives: bool) -> None:
        """The gateway's process is gone. What the remote has of it arrives, or is lost with the sockets."""
        self.dead = True
        for held in list(self._held) if arrives else ():
            if held.call.identity in self.revoked:
                continue
            with contextlib.suppress(S3Error):
                await self._inner(held.call)
                self._note(held.call, "applied")

    async def arrive(self, at: int) -> str:
        """Let a late request arrive; its key."""
        call, _ = self.late.pop(at)
        with contextlib.suppress(S3Error):
            await self._inner(call)
        return call.key


@dataclass(frozen=True, slots=True)
class SlowBody(Body):
    """Bytes that come when they are let through."""

    data: bytes
    gate: Gate

    @property
    def length(self) -> int:
        """Length in bytes."""
        return len(self.data)

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the range once it is let through."""
        self.gate.reached.set()
        await self.gate.opened.wait()
        if self.data[start:end]:
            yield self.data[start:end]


@dataclass(frozen=True, slots=True)
class SentBody(Body):
    """Bytes that have been sent, with the digests that came in their trailer."""

    data: bytes
    digests: Mapping[str, str]
    replayable: bool = True

    @property
    def length(self) -> int:
        """Length in bytes."""
        return len(self.data)

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the range at once."""
        if self.data[start:end]:
            yield self.data[start:end]


def refusal(fate: str, *, document: bool = True) -> Reply:
    """The store's own refusal, by a code and a status; the answer to a HEAD has no document."""
    code, _, status = fate.partition(" ")
    error = S3Error(code, "as the test wants it", status=int(status))
    content = encode.error(error) if document else b""
    return Reply(error.status, CIMultiDict({"Content-Type": "application/xml"}), body=BytesBody(content))


def page(status: int) -> Reply:
    """The answer of somebody who is not the store."""
    return Reply(status, CIMultiDict({"Content-Type": "text/html"}), body=BytesBody(b"<html>Sign in</html>"))


def name_of(call: Call) -> str:
    """Who asked: the client that the wire names, else the number that the object carries."""
    headers = call.wire.headers
    return headers.get("User-Agent") or headers.get("x-amz-meta-n") or ""
