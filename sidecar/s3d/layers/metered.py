"""Counts every call: operation, outcome, time to the head of the answer, and bytes in and out as announced."""

import time

from s3d.api import S3, Call, Reply
from s3d.errors import S3Error
from s3d.metrics import Metrics


class Metered:
    """A layer that only watches."""

    def __init__(self, inner: S3, metrics: Metrics) -> None:
        """Take what is watched."""
        self._inner = inner
        self._metrics = metrics

    async def __call__(self, call: Call) -> Reply:
        """Pass the call inward and count what comes back."""
        started = time.perf_counter()
        received = (call.body.length or 0) if call.body else 0
        status, sent = 500, 0
        try:
            reply = await self._inner(call)
            status, sent = reply.status, (reply.body.length or 0) if reply.body else 0
        except S3Error as error:
            status = error.status
            raise
        finally:
            self._metrics.count_request(call.operation, status, time.perf_counter() - started, received, sent)
        return reply
