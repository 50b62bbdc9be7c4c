"""JSON that comes from outside: a file, a client's token, a row of the local dir, an answer.

Whatever cannot be read raises ValueError and nothing else: brackets nested deeper than the parser goes, a number that
JSON does not have (NaN, Infinity, 1e999), bytes that are no text. So a caller that refuses a wrong document refuses
every wrong document.
"""

import json
import math
from typing import Any


def parse(text: str | bytes) -> Any:
    """The value of a document. Raises ValueError."""
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        return DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
"""Made once: what is read of each row is short."""
