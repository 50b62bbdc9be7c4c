"""What can go wrong, by who has to act.

S3Error is for the client of the S3 door, its subclass Unavailable for us (we retry); ConfigError is for the person who
wrote the settings; CorruptBody means quarantine. Anything else that is raised is a bug. The docstring of a class is the
message when none is given. Errors are caught at the edges only.
"""

from collections.abc import Mapping


class S3DError(Exception):
    """Something went wrong in s3d."""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        """Take what went wrong and, in `hint`, what the person can do about it."""
        # What a peer has sent may be no text. Then it comes with lone surrogates, which nothing can store or send.
        self.message = message.encode(errors="backslashreplace").decode() or (type(self).__doc__ or "").strip()
        self.hint = hint
        super().__init__(self.message)


class ConfigError(S3DError):
    """The settings cannot be used."""


class CorruptBody(S3DError):
    """A stored body does not match the digest that was kept with it."""


class S3Error(S3DError):
    """The request cannot be served."""

    unknown = False
    """Whether what was asked may have been done, or may be done later, in spite of the error (SEMANTICS Q-3)."""

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int = 400,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Take S3's error `code`, the HTTP `status`, extra response `headers` and extra elements (`details`) of the
        error document, such as BucketName."""
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status
        self.headers = dict(headers or {})
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Unavailable(S3Error):
    """The remote cannot be reached just now."""

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "ServiceUnavailable",
        hint: str = "",
        retry_after: int = 1,
        sent: bool = False,
    ) -> None:
        """Take the seconds after which a client may try again, and in `sent` whether the request went out in full
        (then its outcome is unknown, not failed)."""
        super().__init__(code, message, status=503, hint=hint, headers={"Retry-After": str(retry_after)})
        self.sent = self.unknown = sent


class NotS3(Unavailable):
    """Somebody else than the store has answered: a portal, a proxy, an ingress (SEMANTICS Q-22, Q-8a)."""

    def __init__(self, message: str, *, answered: int) -> None:
        """Take what is wrong with the answer, and its HTTP status in `answered`."""
        super().__init__(
            message,
            hint="see what answers at S3_ENDPOINT: a captive portal, a proxy or an ingress may stand before the store",
            sent=True,
        )
        self.answered = answered


def slow_down(message: str, *, retry_after: int = 5, hint: str = "") -> S3Error:
    """The 503 that tells a client to come again, after so many seconds."""
    return S3Error("SlowDown", message, status=503, headers={"Retry-After": str(retry_after)}, hint=hint)
