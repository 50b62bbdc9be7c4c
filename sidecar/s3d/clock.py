"""Time that passes, whatever becomes of the time of day (SEMANTICS D-10).

The clock of the day is set: by hand, by NTP, by a device that has no battery for it. What waits goes by a *steady*
clock instead, which nobody sets. It counts on through suspends and through restarts of the process, and reads like Unix
time. The time of day is for what is shown to people and clients. A length of time inside one task is
`time.monotonic()`'s.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")
BOOTTIME = getattr(time, "CLOCK_BOOTTIME", 1)
MAX_TIME = 2.5e11
"""A time in the year 9892. What is beyond is no time that a clock has shown: it is damage."""


def tick() -> float:
    """Seconds since the machine was started, with those for which it was suspended."""
    # Where one of the two stands still, the other one tells.
    return max(time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(BOOTTIME))


def boot() -> str:
    """What names this start of the machine, within which `tick` goes on; "" where nothing does."""
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def time_of(moment: float) -> float:
    """The time of day (Unix time), as the clock is set now, of a moment of `tick`."""
    return time.time() - (tick() - moment)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where clocks take their time from."""

    wall: Callable[[], float] = time.time
    """The time of day (Unix time), right or wrong."""
    tick: Callable[[], float] = tick
    boot: Callable[[], str] = boot


MACHINE = Machine()
"""The one that this runs on."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A steady clock: `tick` and a number of seconds that is kept with what is timed by it."""

    machine: Machine
    boot: str
    """The start of the machine within which `tick` goes on."""
    ahead: float
    """Seconds by which it is ahead of `tick`."""

    def now(self) -> float:
        """The steady time."""
        return self.ahead + self.machine.tick()

    def wall(self) -> float:
        """The time of day (Unix time): for what is shown."""
        return self.machine.wall()

    def wall_of(self, moment: float) -> float:
        """The time of day of a moment of this clock, as the clock of the day is set now."""
        return self.wall() - (self.now() - moment)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a clock from one process to the next."""

    boot: str
    ahead: float
    seen: float
    """The latest time that it is known to have shown."""


def resume(machine: Machine, kept: Kept | None, newest: float) -> Clock:
    """The clock that goes on where the last process left it; `newest` is the newest time that something bears.

    Within one start of the machine it goes on exactly. Over another start nobody knows for how long the machine was
    off: the clock of the day tells, unless it is behind what was seen. The steady clock never goes back behind that.
    """
    moment, name = machine.tick(), machine.boot()
    if kept is not None and name and kept.boot == name and sound(kept.ahead + moment):
        now = kept.ahead + moment
    else:
        now = machine.wall()
    seen = [time for time in (newest, 0.0 if kept is None else kept.seen) if sound(time)]
    return Clock(machine, name, max([now, *seen]) - moment)


def sound(moment: object) -> bool:
    """Whether something read from a table may be a time."""
    return isinstance(moment, int | float) and math.isfinite(moment) and 0.0 <= moment <= MAX_TIME
