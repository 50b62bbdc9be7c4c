"""What waits for its turn to be sent, bounded in number, and what becomes of it: sent, refused or dropped.

One Waiting stands for one signal. What does not fit is dropped, and counted as what the collector refuses is. The log
says once that a signal is not taken, and once that it is again.
"""

import logging
import threading

from s3d.metrics import Metrics

log = logging.getLogger(__name__)

LIBRARY = "opentelemetry"
"""The logger of OpenTelemetry's packages. They complain of each batch."""


class Words(logging.Handler):
    """Keeps the last words of the library about a failure, for the one line that we write of it."""

    def __init__(self) -> None:
        """Take them from now on, and out of the log."""
        super().__init__(logging.WARNING)
        self.last = ""
        logger = logging.getLogger(LIBRARY)
        logger.handlers = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an entry."""
        self.last = record.getMessage()


class Waiting:
    """How many of one signal are on their way out."""

    def __init__(self, signal: str, limit: int, metrics: Metrics, words: Words) -> None:
        """Take the name of the signal, and how many may wait."""
        self._signal = signal
        self._limit = limit
        self._metrics = metrics
        self._words = words
        self._lock = threading.Lock()
        self._number = 0
        self._is_refused = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self._number == 0

    def take(self) -> bool:
        """Whether there is room for one more, which waits then."""
        with self._lock:
            if self._number < self._limit:
                self._number += 1
                return True
        self._metrics.telemetry_dropped.labels(self._signal, "full").inc()
        return False

    def gone(self, number: int, *, sent: bool) -> None:
        """Note what became of so many."""
        with self._lock:
            self._number -= number
        if sent:
            if self._is_refused:
                log.info("telemetry: the collector takes %s again", self._signal)
        else:
            self._metrics.telemetry_dropped.labels(self._signal, "refused").inc(number)
            if not self._is_refused:
                log.warning("telemetry: the collector does not take %s: %s", self._signal, self._words.last)
        self._is_refused = not sent
