"""What an error of the remote means for the change that met it: one table (SEMANTICS Q-8). A row that names a code wins
over a class. Pure: time and chance are arguments."""

from enum import StrEnum

from s3d.errors import NotS3, S3Error

MAX_ATTEMPTS = 3
"""Attempts at a change that is refused with a 4xx that no row names."""
MIN_INTERVAL = 5.0
"""Seconds that lie between two of these: what is wrong for a moment only parks nothing."""
MIN_BACKOFF = 0.2
MAX_BACKOFF = 30.0
MIN_PROBE_BACKOFF = 1.0
MAX_PROBE_BACKOFF = 30.0
MAX_SLOW_BACKOFF = 5.0
MAX_PAUSE = max(MAX_BACKOFF, MAX_PROBE_BACKOFF)
"""No pause is longer."""


class Verdict(StrEnum):
    """What to do with the change."""

    TRANSIENT = "transient"
    """Try again, for ever."""
    LANE = "lane"
    """Its identity and bucket are refused, or it is not the store that answers. Where others of the lane meet the same,
    the lane pauses; probes go on for ever."""
    OBJECT = "object"
    """Refused for good: park it, the others go on."""
    REHASH = "rehash"
    """The remote saw other bytes: hash the body; bad is quarantined, good is tried again."""
    REFUSED = "refused"
    """A 4xx that no row names: a few attempts, then park."""


CODES = {
    Verdict.TRANSIENT: """SlowDown RequestTimeout OperationAborted InternalError ServiceUnavailable ThrottlingException
        PriorRequestNotComplete ConditionalRequestConflict TooManyRequests RequestTimeTooLong IncompleteBody""",
    Verdict.LANE: """AccessDenied AllAccessDisabled AccountProblem ExpiredToken TokenRefreshRequired InvalidAccessKeyId
        InvalidToken SignatureDoesNotMatch NoSuchBucket PermanentRedirect TemporaryRedirect AuthorizationHeaderMalformed
        RequestTimeTooSkewed QuotaExceeded NotSignedUp Forbidden InvalidSecurity NoCredentials UnknownIdentity""",
    Verdict.OBJECT: """EntityTooLarge EntityTooSmall KeyTooLongError KeyTooLong MetadataTooLarge InvalidTag
        InvalidStorageClass InvalidURI NotImplemented InvalidObjectName XMinioInvalidObjectName MethodNotAllowed
        InvalidObjectState AccessControlListNotSupported""",
    Verdict.REHASH: """BadDigest XAmzContentSHA256Mismatch XAmzContentChecksumMismatch InvalidDigest""",
}
BY_CODE = {code: verdict for verdict, codes in CODES.items() for code in codes.split()}
BY_STATUS = {401: Verdict.LANE, 403: Verdict.LANE, 507: Verdict.LANE}
# These ask for the same request again, whoever gives them (RFC 9110, 15.5.9 and 15.5.20; RFC 8470; RFC 6585).
LATER = frozenset([408, 421, 425, 429])


def judge(error: S3Error) -> Verdict:
    """Judge an error."""
    if isinstance(error, NotS3):
        return Verdict.TRANSIENT if error.answered in LATER else Verdict.LANE
    if (by_code := BY_CODE.get(error.code)) is not None:
        # A 5xx refuses nothing for good, whatever code its document has; 501 is what S3 says of what it does not know.
        fails = error.status >= 500 and error.status != 501
        return Verdict.TRANSIENT if by_code is Verdict.OBJECT and fails else by_code
    if (by_status := BY_STATUS.get(error.status)) is not None:
        return by_status
    if error.status in LATER:
        return Verdict.TRANSIENT
    if error.status >= 500:
        return Verdict.OBJECT if error.status == 501 else Verdict.TRANSIENT
    return Verdict.LANE if 300 <= error.status < 400 else Verdict.REFUSED


def counted(refusals: int, since: float | None) -> int:
    """How often a change was refused by now, where it was `refusals` times before and its last attempt began `since`
    seconds ago (None: there was none). What follows too soon says no more than the one before."""
    return refusals + 1 if not refusals or since is None or since >= MIN_INTERVAL else refusals


def pause(attempts: int, chance: float) -> float:
    """Seconds until the next attempt: full jitter below a doubling bound; `chance` is from 0 up to 1."""
    return chance * min(MAX_BACKOFF, MIN_BACKOFF * 2.0 ** min(attempts, 16))


def probe_pause(attempts: int, chance: float) -> float:
    """Seconds until the next probe of a paused lane: the upper half below a doubling bound."""
    return (1 + chance) / 2 * min(MAX_PROBE_BACKOFF, MIN_PROBE_BACKOFF * 2.0 ** min(attempts - 1, 16))


def slow_pause(tries: int, chance: float) -> float:
    """Seconds until the next change of a lane that is slowed down: the upper half below a doubling bound."""
    return (1 + chance) / 2 * min(MAX_SLOW_BACKOFF, MAX_PROBE_BACKOFF, MIN_PROBE_BACKOFF * 2.0 ** min(tries, 16))
