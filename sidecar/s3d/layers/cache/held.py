"""Small objects in memory: those that were read last, whose bytes need no thread and no file.

They are held by the name of a file, which is one version's and no other's, after its CRC was compared. Whether it is
still cached the index says: what is dropped or evicted there is asked for no more.
"""

from collections import OrderedDict

MAX_LENGTH = 16 << 10
"""Bytes of the largest object that is held."""
MAX_BYTES = 8 << 20
"""Bytes of all that are."""


class Held:
    """What is held."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, file: str) -> bytes | None:
        """The bytes of a file; None where they are not held."""
        data = self._bodies.get(file)
        if data is not None:
            self._bodies.move_to_end(file)
        return data

    def put(self, file: str, data: bytes) -> None:
        """Hold the bytes of a file, and let go of what was not read for the longest time."""
        self.forget(file)
        self._bodies[file] = data
        self._bytes += len(data)
        while self._bytes > MAX_BYTES:
            self._bytes -= len(self._bodies.popitem(last=False)[1])

    def forget(self, file: str) -> None:
        """Let go of a file; one that is not held is fine."""
        self._bytes -= len(self._bodies.pop(file, b""))
