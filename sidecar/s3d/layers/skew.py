"""The clock of the remote, where it is far from ours: a signature holds for a quarter of an hour."""

import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

log = logging.getLogger(__name__)

MAX_SKEW = 240.0
"""Seconds by which the clocks may differ before ours is corrected for signatures; S3 allows 900."""
EARLIEST, LATEST = datetime(2006, 3, 14, tzinfo=UTC).timestamp(), datetime(2106, 2, 7, tzinfo=UTC).timestamp()
"""Between these (Unix times: S3's first day, and the end of 32 bits) a remote's clock is believed."""


class Skew:
    """How far the remote's clock is from ours."""

    def __init__(self) -> None:
        """Begin with clocks that agree."""
        self._seconds = 0.0

    def learn(self, date: str) -> None:
        """Learn it from the Date of a refusal."""
        try:
            moment = parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        if not EARLIEST <= moment <= LATEST:
            return
        skew = moment - time.time()
        skew = skew if abs(skew) > MAX_SKEW else 0.0
        if abs(skew - self._seconds) > MAX_SKEW:
            log.warning("the remote's clock is %+.0f s from ours: requests are signed by its time from now on", skew)
            self._seconds = skew

    def now(self) -> datetime:
        """The time at the remote."""
        return datetime.now(UTC) + timedelta(seconds=self._seconds)
