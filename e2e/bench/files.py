"""Files that are sent."""

import os
from pathlib import Path


def make_file(path: Path, size: int) -> Path:
    """A file of so many MB that does not repeat itself soon."""
    block = os.urandom(1_000_000)
    with path.open("wb") as file:
        for number in range(size):
            file.write(number.to_bytes(4, "big") + block[4:])
    return path
