"""Whether the remote is there: the one place that decides that it is *away* (SEMANTICS, Words).

Away is a refused connection, a DNS or TLS failure, or three requests in a row that heard nothing for `away_after` after
the last byte sent. One silent request proves nothing: it starts the probe, and the probe's own silence counts. Any HTTP
answer ends it. This module sends nothing itself; the probe is given to it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from s3d.background import for_ever
from s3d.clock import tick, time_of
from s3d.errors import S3DError
from s3d.metrics import Metrics

log = logging.getLogger(__name__)

MAX_MISSES = 3
PROBE_INTERVAL = 1.0
LOOK_INTERVAL = 0.2
AWAY_TIMEOUT = 0.5


@dataclass(slots=True, eq=False)
class Exchange:
    """One request under way, from its first byte to the head of its response: a context that it is watched in.

    Raises TimeoutError when it is given up.
    """

    under_way: "set[Exchange]"
    """All of them."""
    patient: bool
    """Its silence says nothing: Complete and copies answer late."""
    probe: bool
    """Looks for the remote's return, so it is not ended for the remote's absence."""
    progress: float = field(default_factory=time.monotonic)
    """When the last byte was sent."""
    sent: bool = False
    """Whether the whole request may have left (then its outcome is unknown, not failed)."""
    missed: bool = False
    gave_up: bool = False
    """Ended by us: the remote is away, or nothing moved for the request timeout."""
    scope: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))

    async def __aenter__(self) -> Self:
        """Have it watched."""
        await self.scope.__aenter__()
        self.under_way.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The head is there, or it failed."""
        self.under_way.discard(self)
        await self.scope.__aexit__(kind, error, trace)


class Health:
    """What is known of the remote's presence, and the probe that looks for its return."""

    def __init__(self, away_after: float, request_timeout: float, probe: Callable[[], Awaitable[None]]) -> None:
        """Take the times in seconds; `probe` sends one request and returns on any answer, raises on none."""
        self.away_after = away_after
        self.request_timeout = request_timeout
        self.away = False
        self.reason = ""
        self._changed_at: float | None = None
        """When the state last changed, by `tick`; None before the first contact."""
        self._probe = probe
        self._misses = 0
        self._under_way: set[Exchange] = set()
        self._present = asyncio.Event()
        self._present.set()
        self._suspect = asyncio.Event()

    @property
    def state(self) -> Literal["unknown", "reachable", "away"]:
        """`unknown`, `reachable` or `away`."""
        if self.away:
            return "away"
        return "unknown" if self._changed_at is None else "reachable"

    @property
    def since(self) -> float | None:
        """When the state last changed (Unix time, as the clock is set now); None before the first contact."""
        return None if self._changed_at is None else time_of(self._changed_at)

    async def present(self) -> None:
        """Wait until the remote is not away."""
        await self._present.wait()

    def answered(self) -> None:
        """Note that the remote gave an HTTP answer."""
        self._misses = 0
        self._suspect.clear()
        if self.away or self._changed_at is None:
            if self.away:
                log.info("the remote is back")
            self.away, self.reason, self._changed_at = False, "", tick()
            self._present.set()

    def failed(self, reason: str) -> None:
        """Note a refused connection, a DNS or a TLS failure: away at once."""
        self._misses = MAX_MISSES
        self._leave(reason)

    def missed(self) -> None:
        """Note a request that heard nothing for `away_after`."""
        self._misses += 1
        if self._misses >= MAX_MISSES:
            self._leave(f"no answer within {self.away_after:g} s, {MAX_MISSES} times in a row")
        else:
            self._suspect.set()

    def exchange(self, *, patient: bool = False, probe: bool = False) -> Exchange:
        """A request that is to be watched until the head of its response is there."""
        return Exchange(self._under_way, patient, probe)

    async def watch(self, metrics: Metrics) -> None:
        """Run until cancelled: end silent requests, and probe while the remote is away or silent."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(for_ever("silent requests", self._tick, metrics))
            tasks.create_task(for_ever("the remote", self._look, metrics))

    async def _tick(self) -> None:
        await asyncio.sleep(LOOK_INTERVAL)
        now = time.monotonic()
        for exchange in tuple(self._under_way):
            silence = now - exchange.progress
            if silence >= self.away_after and not exchange.missed and not exchange.patient:
                exchange.missed = True
                self.missed()
            if silence >= self._patience(exchange):
                self._end(exchange)

    def _patience(self, exchange: Exchange) -> float:
        """How long a request may be silent, in seconds."""
        if exchange.probe:
            return 2 * self.away_after
        if self.away and not exchange.patient:
            return AWAY_TIMEOUT
        return self.request_timeout

    async def _look(self) -> None:
        await self._suspect.wait()
        with contextlib.suppress(S3DError):
            await self._probe()
        await asyncio.sleep(PROBE_INTERVAL)

    def _leave(self, reason: str) -> None:
        if not self.away:
            log.warning("the remote is away: %s", reason)
            self.away, self.reason, self._changed_at = True, reason, tick()
            self._present.clear()
        self._suspect.set()

    def _end(self, exchange: Exchange) -> None:
        exchange.gave_up = True
        self._under_way.discard(exchange)
        exchange.scope.reschedule(asyncio.get_running_loop().time())
