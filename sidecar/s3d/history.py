"""A day of counts, a sample every few minutes, for whoever looks at the status page. It is kept in memory and begins
anew with the daemon; a Prometheus keeps more, and longer."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TypedDict

from s3d.metrics import Metrics

INTERVAL = 300.0
"""Seconds between two samples."""
MAX_SAMPLES = 288
"""Samples: those of a day."""


class Sample(TypedDict):
    """What was at a time, and what has happened since the sample before it."""

    at: float
    """Unix time."""
    changes: int
    """Changes that were pending."""
    bytes: int
    """Bytes of these."""
    requests: int
    failed: int
    """Requests that were answered with a status from 500 on."""
    delivered: int
    """Changes that were delivered."""


class History:
    """The samples of a day."""

    def __init__(self, metrics: Metrics, pending: Callable[[], tuple[int, int]]) -> None:
        """Take what counts, and what says how many changes and bytes are pending. Begins to count now."""
        self._metrics = metrics
        self._pending = pending
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._before = self._counts()

    async def look(self) -> None:
        """Rest, and take a sample."""
        await asyncio.sleep(INTERVAL)
        self._samples.append(self._now())
        self._before = self._counts()

    def samples(self) -> list[Sample]:
        """The samples, the oldest first, and what is now."""
        return [*self._samples, self._now()]

    def _now(self) -> Sample:
        changes, size = self._pending()
        requests, failed, delivered = (now - before for now, before in zip(self._counts(), self._before, strict=True))
        return {
            "at": time.time(),
            "changes": changes,
            "bytes": size,
            "requests": requests,
            "failed": failed,
            "delivered": delivered,
        }

    def _counts(self) -> tuple[int, int, int]:
        requests, failed = self._metrics.answered()
        return requests, failed, self._metrics.delivered()
