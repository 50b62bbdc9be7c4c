"""How fast a lane is tried while the remote fails: bounded, whatever waits in it (SEMANTICS Q-8h).

A change that fails for now is tried again by itself, with its body. In a long outage that is a load which grows with
what waits, so a lane of which several different changes in a row met such a failure is slowed down: one change is tried
at a time, after a pause that grows, until one is delivered, or refused for its own sake. A single object never slows a
lane. Nothing of it is kept on disk: a restart finds out anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from s3d.layers.queue.rules import retry

MAX_FAILURES = 3
"""Different changes in a row that fail before their lane is slowed down."""
Lane = tuple[str, str]


@dataclass(slots=True)
class Streak:
    """Failures of a lane since a change of it was answered."""

    changes: set[int] = field(default_factory=set)
    """Those that failed, up to MAX_FAILURES of them."""
    tries: int = 0
    """How often one was tried since the lane is slow."""
    next_at: float = 0.0
    """When the next one may be tried."""

    @property
    def is_slow(self) -> bool:
        """Whether the lane is slowed down."""
        return len(self.changes) >= MAX_FAILURES


class Pace:
    """The lanes that fail."""

    def __init__(self) -> None:
        """Know nothing."""
        self._streaks: dict[Lane, Streak] = {}

    def failed(self, lane: Lane, seq: int, now: float, chance: float) -> None:
        """Note that the remote failed at a change."""
        streak = self._streaks.setdefault(lane, Streak())
        if not streak.is_slow:
            streak.changes.add(seq)
            streak.next_at = now + retry.slow_pause(0, chance)

    def answered(self, lane: Lane) -> None:
        """Note that the remote has taken a change, or has refused it for its own sake: it does not fail any more."""
        self._streaks.pop(lane, None)

    def tried(self, lane: Lane, now: float, chance: float) -> None:
        """Note that a change is tried: until the next one a pause goes by, whether or not there is an answer."""
        streak = self._streaks.get(lane)
        if streak is not None and streak.is_slow:
            streak.tries += 1
            streak.next_at = now + retry.slow_pause(streak.tries, chance)

    def slowed(self, now: float) -> Mapping[Lane, bool]:
        """The lanes that are slowed down, and whether one change of each may be tried now."""
        return {lane: streak.next_at <= now for lane, streak in self._streaks.items() if streak.is_slow}

    def due(self, now: float) -> float | None:
        """When the next of them may be tried again; None where none waits."""
        times = [streak.next_at for streak in self._streaks.values() if streak.is_slow and streak.next_at > now]
        return min(times, default=None)

    def forget(self) -> None:
        """Let all lanes go on at once."""
        self._streaks.clear()
