"""The log: one entry a line, as text for a person or as JSON, and nothing in it that could drive a terminal.

What is logged names keys of clients and words of the remote. A control character in them is written as its escape, so
that no key ends a line, colours it or forges the next one.
"""

import json
import logging
import sys

from s3d.settings import Gateway

CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""What drives a terminal, ends a line or turns its direction."""
IN_JSON = {code: f"\\u{code:04x}" for code in CONTROL if code >= 0x7F}
"""What json.dumps leaves of them."""


class Text(logging.Formatter):
    """One line an entry; a traceback behind it, indented, so that no line of it passes for an entry."""

    def __init__(self) -> None:
        """Time of day, level and message."""
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 # logging's own name
        """The line."""
        return super().formatMessage(record).translate(CONTROL)

    def formatException(self, ei: object) -> str:  # noqa: N802 # logging's own name
        """The traceback."""
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]
        return "\n".join(f"    {line.translate(CONTROL)}" for line in lines)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message and, where there is one, the traceback."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False).translate(IN_JSON)


def set_up(settings: Gateway) -> None:
    """Log to stderr, as text on a terminal and as JSON elsewhere."""
    handler = logging.StreamHandler(sys.stderr)
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler.setFormatter(Text() if as_text else JsonLines())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for chatty in ("botocore", "aiobotocore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It warns with a traceback where a source of credentials fails, of which layers/credentials.py says what there is.
    logging.getLogger("aiobotocore.credentials").setLevel(logging.ERROR)
