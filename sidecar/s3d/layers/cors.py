"""Knows the CORS rules of buckets (SEMANTICS R-12b): a layer that hands every call inward, and sees what changes them.

The remote is asked for a bucket's rules with the gateway's keys, once for all who wait. An answer holds for
FRESH_SECONDS. While the remote gives none, what it said last holds, also after a restart where a memory keeps it. Whom
nobody has authenticated may make it ask, so what is asked at once and what is remembered are bounded. Rules of the
settings hold for every bucket, and nobody is asked.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from s3d.access import cors
from s3d.access.cors import NO_RULES, Rule, Rules
from s3d.api import S3, Call, Outcome, Reply
from s3d.bounded import BoundedMap
from s3d.client import Client
from s3d.clock import tick
from s3d.errors import S3Error
from s3d.layers.health import Health
from s3d.settings import Browsers
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

FRESH_SECONDS = 60.0
"""Seconds for which an answer of the remote holds."""
RETRY_INTERVAL = 5.0
"""Seconds until the remote is asked again, where it gave no answer."""
MAX_WAIT = 5.0
"""Seconds that a request waits for the rules of its bucket. Then those that were known before hold."""
MAX_KNOWN = 1_000
"""Buckets whose rules, or absence, are in memory."""
MAX_ASKED = 16
"""Buckets that the remote is asked about at once."""
CHANGING = frozenset(["PutBucketCors", "DeleteBucketCors", "CreateBucket", "DeleteBucket"])
TOO_MANY_REQUESTS = 429


class Memory(Protocol):
    """Keeps rules over a restart."""

    def recall(self, bucket: str) -> tuple[Rule, ...]:
        """The rules of a bucket as they were kept last."""

    async def keep(self, bucket: str, rules: tuple[Rule, ...]) -> None:
        """Keep the rules of a bucket. Raises StoreFailed."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was found out of a bucket."""

    rules: Rules
    until: float
    """When the remote is asked again, by `tick`."""


class Cors:
    """The layer."""

    def __init__(self, inner: S3, settings: Browsers, health: Health, memory: Memory | None) -> None:
        """Take what is inside, and what keeps rules over a restart, where anything does."""
        self._inner = inner
        self._client = Client(inner, "door")
        self._fixed = of_settings(settings)
        self._health = health
        self._memory = memory
        self._known = BoundedMap[str, Known](MAX_KNOWN)
        self._asking: dict[str, asyncio.Task[None]] = {}

    def __call__(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Hand a call inward. Rules that it changes, or may have changed, are asked for anew before it is answered."""
        return self._inner(call) if call.operation not in CHANGING or self._fixed is not None else self._change(call)

    async def _change(self, call: Call) -> Reply:
        """Hand a call inward that may change rules."""
        try:
            reply = await self._inner(call)
        except S3Error as error:
            if error.unknown:
                await self._forget(call.bucket)
            raise
        if reply.outcome is not Outcome.REFUSED:
            await self._forget(call.bucket)
            await self.rules_of(call.bucket)
        return reply

    async def rules_of(self, bucket: str) -> Rules:
        """The rules that hold for a bucket ("": for what names none)."""
        if self._fixed is not None:
            return self._fixed
        known = self._known.get(bucket)
        if not bucket or (known is not None and tick() < known.until):
            return known.rules if known is not None else NO_RULES
        if not self._health.away and (bucket in self._asking or len(self._asking) < MAX_ASKED):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._ask_once(bucket)), MAX_WAIT)
            known = self._known.get(bucket) or known
        return known.rules if known is not None else self._recall(bucket)

    def _recall(self, bucket: str) -> Rules:
        return Rules(self._memory.recall(bucket)) if self._memory is not None else NO_RULES

    def _ask_once(self, bucket: str) -> asyncio.Task[None]:
        """One look-up for all who wait for it; it outlives each of them."""
        task = self._asking.get(bucket)
        if task is None:
            task = self._asking[bucket] = asyncio.ensure_future(self._ask(bucket))
        return task

    async def _ask(self, bucket: str) -> None:
        me = asyncio.current_task()
        try:
            rules = await self._shown(bucket)
            if self._asking.get(bucket) is not me:
                return  # the rules were changed meanwhile
            if rules is None:
                known = self._known.get(bucket)
                self._learn(bucket, known.rules if known is not None else self._recall(bucket), RETRY_INTERVAL)
            else:
                self._learn(bucket, Rules(rules), FRESH_SECONDS)
                await self._keep(bucket, rules)
        finally:
            if self._asking.get(bucket) is me:
                del self._asking[bucket]

    async def _shown(self, bucket: str) -> tuple[Rule, ...] | None:
        """The rules as the remote shows them; None where it does not say. One that refuses to say, or that has no CORS,
        shows none."""
        try:
            answer = await self._client.ask("GetBucketCors", {"Bucket": bucket}, fresh=True)
            return cors.of_configuration(answer.result)
        except S3Error as error:
            return None if error.unknown or error.status in (TOO_MANY_REQUESTS, 503) else ()
        except ValueError as error:
            log.warning("the CORS rules of bucket %s cannot be read: %s", bucket, error)
            return ()

    def _learn(self, bucket: str, rules: Rules, seconds: float) -> None:
        self._known[bucket] = Known(rules, tick() + seconds)

    async def _forget(self, bucket: str) -> None:
        """Know nothing of a bucket, and take no answer that is under way."""
        self._known.forget(bucket)
        self._asking.pop(bucket, None)
        await self._keep(bucket, ())

    async def _keep(self, bucket: str, rules: tuple[Rule, ...]) -> None:
        if self._memory is None:
            return
        try:
            await self._memory.keep(bucket, rules)
        except StoreFailed as error:
            log.error("the CORS rules of bucket %s cannot be kept: %s", bucket, error)


def of_settings(settings: Browsers) -> Rules | None:
    """The rules of the settings, which hold for every bucket; None where they say none."""
    if not settings.origins:
        return None
    rule = Rule(settings.origins, settings.methods, settings.headers, settings.expose, int(settings.max_age))
    return Rules((rule,), by_settings=True)
