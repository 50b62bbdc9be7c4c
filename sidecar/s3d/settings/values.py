"""What the value of a setting can be: sizes, durations, lists, filters, URLs, and how each is read."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, InstanceOf, WithJsonSchema

from s3d.filters import grammar
from s3d.filters.rule import Rules

UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
UNITS |= {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
SECONDS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_BYTES = 1 << 62


def parse_bytes(value: object) -> object:
    """Turn `10Gi`, `512M` or `1000` into a number of bytes (Kubernetes' quantity suffixes)."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?|[KMGT]i)B?", value.strip())
        if not match:
            raise ValueError(f"{value!r} is not a size; write for example 512Mi or 10Gi")
        size = float(match[1]) * UNITS[match[2]]
        if size > MAX_BYTES:
            raise ValueError("there is no disk of this size")
        return int(size)
    return value


def parse_duration(value: object) -> object:
    """Turn `30s`, `500ms`, `5m`, `24h` or a bare number of seconds into seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", value.strip())
        if not match:
            raise ValueError(f"{value!r} is not a duration; write for example 500ms, 30s or 24h")
        return float(match[1]) * SECONDS[match[2]]
    return value


def show_duration(seconds: float) -> str:
    """Write a duration in the largest unit that has it whole, as `parse_duration` reads it."""
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:f}".rstrip("0").rstrip(".") + "s"


def parse_list(value: object) -> object:
    """Turn `a, b` into a tuple of names."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def parse_filter(value: object) -> object:
    """Turn a text with commas, or a list with a rule in each entry, into rules. Raises FilterError."""
    if isinstance(value, str):
        return grammar.parse(value)
    if isinstance(value, list | tuple) and all(isinstance(rule, str) for rule in value):
        return grammar.parse(value)
    if isinstance(value, Rules):
        return value
    raise ValueError("a filter is a text, or a list of texts")


Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0), WithJsonSchema({"x-kubernetes-int-or-string": True})]
Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
Names = Annotated[tuple[str, ...], BeforeValidator(parse_list)]
Filter = Annotated[
    InstanceOf[Rules], BeforeValidator(parse_filter), WithJsonSchema({"type": "array", "items": {"type": "string"}})
]


def check_http_url(value: str) -> str:
    """Refuse what is not `http(s)://host[:port]`. What is refused is not shown: it may hold a password."""
    if "@" in value:
        raise ValueError("a URL with a user or a password is not taken; keys come from the AWS credential chain")
    try:
        parts = urlsplit(value)
        is_valid = parts.port is None or parts.port >= 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("it is not a URL such as http://127.0.0.1:9000")
    return value.rstrip("/")
