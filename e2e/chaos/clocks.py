"""A clock that jumps when it is told to: the day of a daemon takes as long as a test wants."""

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


@dataclass(slots=True)
class Clock:
    """How far a daemon's clocks are ahead of this machine's, in seconds."""

    directory: Path
    day: int = 0
    monotonic: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program live by this clock."""
        library = self.directory / "clock.so"
        if not library.exists():
            subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE], check=True)
        self._write()
        return {"LD_PRELOAD": str(library), "S3D_E2E_CLOCK": str(self.directory / "clock")}

    def jump(self, seconds: int) -> None:
        """Let time pass."""
        self.day += seconds
        self.monotonic += seconds
        self._write()

    def set(self, ahead: int) -> None:
        """Set the clock of the day wrong by so much, or right with 0; no time passes."""
        self.day = self.monotonic + ahead
        self._write()

    def _write(self) -> None:
        # In place: the daemon has the file in its memory.
        path = self.directory / "clock"
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.write(struct.pack("qq", self.day, self.monotonic))
