"""Whether the remote takes what s3d asks at all: a refusal of our keys, or of our way to it, is a state of the remote.

Whoever met it, an application, a look-up or a push, it is told once in the log and shown until a request passes.
"""

import logging
import math
import time

log = logging.getLogger(__name__)

KEYS = frozenset(
    "InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken TokenRefreshRequired InvalidToken AccountProblem "
    "AllAccessDisabled NotSignedUp InvalidSecurity".split()
)
"""Errors that are about our keys or their account, whatever was asked."""
OBJECT_MAY = "SignatureDoesNotMatch"
"""One of them that a single odd request may meet: it counts where nothing has passed lately."""
DENIED_BY_NAME = "AccessDenied"
DENIED = frozenset([DENIED_BY_NAME, "Forbidden"])
"""Errors that may be about what was asked alone: they count where nothing ever passed."""
NO_BUCKET = "NoSuchBucket"
"""The same, where the remote's URL has a path: it may not belong there."""
FRESH = 10.0
"""Seconds for which a request that passed says that the keys are right."""


class Standing:
    """What the remote thinks of us, or of one of several identities."""

    def __init__(self, path: str, name: str = "") -> None:
        """Take the path of the remote's URL, below which its buckets are looked for, and the name of the identity."""
        self._path = path
        self._whose = f" by identity {name}" if name else ""
        self._passed_at = -math.inf
        """When a request passed, by the monotonic clock."""
        self.refusal = ""
        """The code of the error by which all is refused; "" where nothing is known against us."""

    @property
    def keys_are_refused(self) -> bool:
        """Whether the refusal is that of our keys."""
        return self.refusal not in ("", NO_BUCKET)

    def passed(self) -> None:
        """Note a success."""
        self._passed_at = time.monotonic()
        if self.refusal:
            log.info("the remote takes what is asked of it%s again", self._whose)
            self.refusal = ""

    def refused(self, code: str, *, looked: bool) -> None:
        """Note an error by its code; `looked` says that s3d only looked for something, which nobody asked for."""
        ever, lately = self._passed_at > -math.inf, time.monotonic() - self._passed_at < FRESH
        if (code in KEYS and not (code == OBJECT_MAY and lately)) or (code in DENIED and not ever and not looked):
            self._tell(code, "check the keys, and what they may do")
        elif code == NO_BUCKET and self._path and not ever:
            self._tell(code, f"S3_ENDPOINT has the path {self._path}, below which buckets are looked for")
        elif code in (DENIED_BY_NAME, NO_BUCKET):
            # Whoever says this has taken the signature. A bare 403, the answer to a HEAD, does not say why.
            self.refusal = "" if self.refusal in KEYS else self.refusal

    def _tell(self, code: str, hint: str) -> None:
        if code != self.refusal:
            log.error("the remote refuses all that is asked of it%s: %s (%s)", self._whose, code, hint)
        self.refusal = code
