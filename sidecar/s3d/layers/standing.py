"""Whether the remote takes what s3d asks at all: a refusal of our keys, or a wrong endpoint, is a state of the remote.

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
NO_KEY = "NoSuchKey"
"""Says the same for sure where no key was asked for: the path is taken for a bucket, and the bucket for a key."""
NOT_S3 = "NotS3"
"""Not S3's, but ours: what answers is no S3 store. It counts where no answer ever was a store's."""
ENDPOINT_IS_WRONG = frozenset([NO_BUCKET, NOT_S3])
"""Refusals for which the remote's URL is to blame."""
FRESH_SECONDS = 10.0
"""Seconds for which a request that passed says that the keys are right."""


class Standing:
    """What the remote thinks of us, or of one of several identities."""

    def __init__(self, path: str, name: str = "") -> None:
        """Take the path of the remote's URL, below which its buckets are looked for, and the name of the identity."""
        self._path = path
        self._whose = f" by identity {name}" if name else ""
        self._passed_at = -math.inf
        """When a request passed, by the monotonic clock."""
        self._has_answered = False
        """Whether an answer ever was an S3 store's."""
        self.refusal = ""
        """The code of the error by which all is refused; "" where nothing is known against us."""

    @property
    def keys_are_refused(self) -> bool:
        """Whether the refusal is that of our keys."""
        return bool(self.refusal) and not self.endpoint_is_wrong

    @property
    def endpoint_is_wrong(self) -> bool:
        """Whether nothing is found because of the remote's URL: there is no store, or its buckets are elsewhere."""
        return self.refusal in ENDPOINT_IS_WRONG

    def passed(self) -> None:
        """Note a success."""
        self._passed_at = time.monotonic()
        self._has_answered = True
        self._clear()

    def answered(self) -> None:
        """Note that a store has answered, whatever it said."""
        self._has_answered = True
        if self.refusal == NOT_S3:
            self._clear()

    def not_s3(self) -> None:
        """Note an answer that is not a store's. One that comes behind others is a proxy's, of which the lanes tell."""
        if not self._has_answered:
            self._tell(NOT_S3, "what answers is no S3 store: check scheme, host, port and path of S3_ENDPOINT")

    def refused(self, code: str, *, has_key: bool, looked: bool) -> None:
        """Note a store's error by its code; `has_key` says whether an object was asked for, `looked` that s3d only
        looked for something, which nobody asked for."""
        ever, lately = self._passed_at > -math.inf, time.monotonic() - self._passed_at < FRESH_SECONDS
        if (code in KEYS and not (code == OBJECT_MAY and lately)) or (code in DENIED and not ever and not looked):
            self._tell(code, "check the keys, and what they may do" + self._or_path())
        elif self._path and ((code == NO_BUCKET and not ever) or (code == NO_KEY and not has_key)):
            self._tell(
                NO_BUCKET, f"below the path {self._path} of S3_ENDPOINT the bucket is not found: take the path away"
            )
        elif code in (DENIED_BY_NAME, NO_BUCKET):
            # Whoever says this has taken the signature. A bare 403, the answer to a HEAD, does not say why.
            self.refusal = "" if self.refusal in KEYS else self.refusal

    def _clear(self) -> None:
        if self.refusal:
            log.info("the remote takes what is asked of it%s again", self._whose)
            self.refusal = ""

    def _or_path(self) -> str:
        """A hint for what a bucket of somebody else answers, as which the path may have been taken."""
        return f", and whether the path {self._path} belongs into S3_ENDPOINT" if self._path else ""

    def _tell(self, code: str, hint: str) -> None:
        if code != self.refusal:
            self.refusal = code
            fact = "the remote is not found" if self.endpoint_is_wrong else "the remote refuses all that is asked of it"
            log.error("%s%s: %s (%s)", fact, self._whose, code, hint)
