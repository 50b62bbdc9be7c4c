"""The log: one entry a line, as text for a person or as JSON, nothing in it that could drive a terminal, and no secret.

What is logged names keys of clients and words of the remote. A control character in them is written as its escape, so
that no key ends a line, colours it or forges the next one. What a name says to be a secret (a signature, a token, a
customer's key) is taken out of every entry, whoever made it: words of a library or of the remote may hold one.
"""

import json
import logging
import re
import sys
from collections.abc import Callable

from s3d.journal import Journal
from s3d.settings import Gateway

CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""What drives a terminal, ends a line or turns its direction."""
IN_JSON = {code: f"\\u{code:04x}" for code in CONTROL if code >= 0x7F}
"""What json.dumps leaves of them."""
SECRET = re.compile(
    r"""(?ix)
    ( (?: x-amz-signature | x-amz-security-token | server-side-encryption-customer-key | \bsignature
        | aws_secret_access_key | secret_?access_?key | aws_session_token | session_?token | securitytoken
        | \bpassword | \bclient_secret | \baccess_token )
      ["']? \s* (?: = | : | > | %3d ) \s* b?["']? )
    [^\s&"'<>,;)}\]]+
    | ( \b (?: bearer \s+ | basic \s+ | AWS \s+ [\w.-]+ : ) ) [\w.~+/=-]{8,}
    | ( :// ) (?: [^/\s:@"'?]+ | [^/\s:@"'?]* : (?! \d+/ ) [^\s@"'?]+ ) (?= @ )
    """
)
"""What a name or its place says to be secret, behind that name or place."""
HIDDEN = "***"
LEVELS = ("debug", "info", "warning", "error")
FLUSH_SECONDS = 1.0
"""How long the end waits for whoever reads the log."""


def scrub(text: str) -> str:
    """A text without its secrets."""
    return SECRET.sub(lambda found: next(filter(None, found.groups())) + HIDDEN, text)


class Text(logging.Formatter):
    """One line an entry; a traceback behind it, indented, so that no line of it passes for an entry."""

    def __init__(self) -> None:
        """Time of day, level and message."""
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 # logging's own name
        """The line."""
        return scrub(super().formatMessage(record)).translate(CONTROL)

    def formatException(self, ei: object) -> str:  # noqa: N802 # logging's own name
        """The traceback."""
        lines = scrub(super().formatException(ei)).split("\n")  # type: ignore[arg-type]
        return "\n".join(f"    {line.translate(CONTROL)}" for line in lines)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message and, where there are any, the fields of the entry and the traceback."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": scrub(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["traceback"] = scrub(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False).translate(IN_JSON)


STDERR = 2


class Handler(logging.Handler):
    """Puts entries into the journal."""

    def __init__(self, formatter: logging.Formatter, dropped: Callable[[str, int], None]) -> None:
        """Take how an entry is written, and who counts those that are dropped, by the reason."""
        super().__init__()
        self.setFormatter(formatter)
        self.journal = Journal(descriptor(), self._missing, dropped)

    def emit(self, record: logging.LogRecord) -> None:
        """Take an entry."""
        try:
            line = self._line(record)
        except Exception as error:  # noqa: BLE001 (an entry that cannot be written must not fail who makes it)
            line = self._line(entry(logging.ERROR, f"a log entry of {record.name} cannot be written: {error!r}"))
        self.journal.put(line, record.levelno)

    def _line(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode(errors="backslashreplace") + b"\n"

    def _missing(self, number: int) -> bytes:
        text = f"{number} entries of the log are missing here: they came faster than they were read"
        return self._line(entry(logging.WARNING, text))


def descriptor() -> int:
    """Where the log goes: to stderr, also where Python has none, or somebody has put something else in its place."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return STDERR


def entry(level: int, text: str) -> logging.LogRecord:
    """An entry of the log about itself."""
    return logging.makeLogRecord(
        {"name": __name__, "levelno": level, "levelname": logging.getLevelName(level), "msg": text}
    )


def set_up(settings: Gateway, dropped: Callable[[str, int], None]) -> Journal:
    """Log to stderr, as text on a terminal and as JSON elsewhere; `dropped` counts what is not written, by reason."""
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler = Handler(Text() if as_text else JsonLines(), dropped)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for chatty in ("botocore", "aiobotocore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It warns with a traceback where a source of credentials fails, of which layers/credentials.py says what there is.
    logging.getLogger("aiobotocore.credentials").setLevel(logging.ERROR)
    return handler.journal
