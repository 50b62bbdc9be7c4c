"""The steady clock: what it shows when the clock of the day is set, and over restarts."""

import itertools
import math

import pytest

from s3d.clock import MACHINE, MAX_TIME, Clock, Kept, Machine, boot, resume, tick, time_of

MINUTES, HOUR, DAY = 300.0, 3600.0, 86_400.0
JUMPS = [sign * seconds for seconds in (MINUTES, HOUR, DAY) for sign in (1, -1)]
NOON = 1_800_000_000.0


class Hands:
    """A machine whose clocks say what a test wants."""

    def __init__(self) -> None:
        self.wall = NOON
        self.tick = 1000.0
        self.boot = "first"

    @property
    def machine(self) -> Machine:
        return Machine(lambda: self.wall, lambda: self.tick, lambda: self.boot)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.tick += seconds

    def reboot(self) -> None:
        self.boot, self.tick = "second", 10.0


def kept(clock: Clock) -> Kept:
    return Kept(clock.boot, clock.ahead, clock.now())


@pytest.mark.semantics("D-10", "D-10a")
@pytest.mark.parametrize("jump", JUMPS)
def test_setting_the_clock_of_the_day_moves_no_time_that_passes(jump: float) -> None:
    hands = Hands()
    clock = resume(hands.machine, None, 0.0)
    assert clock.now() == NOON
    hands.wall += jump
    assert clock.now() == NOON
    hands.pass_(60)
    assert clock.now() == NOON + 60


@pytest.mark.semantics("D-10", "D-10a")
@pytest.mark.parametrize("jump", JUMPS)
def test_a_restart_on_the_same_start_of_the_machine_goes_on_exactly(jump: float) -> None:
    hands = Hands()
    before = resume(hands.machine, None, 0.0)
    left = kept(before)
    hands.wall += jump
    hands.pass_(60)
    assert resume(hands.machine, left, 0.0).now() == NOON + 60


@pytest.mark.semantics("D-10")
@pytest.mark.parametrize("jump", JUMPS)
def test_what_a_moment_was_by_the_clock_of_today_follows_the_clock(jump: float) -> None:
    hands = Hands()
    clock = resume(hands.machine, None, 0.0)
    moment = clock.now()
    hands.pass_(60)
    hands.wall += jump
    assert (clock.wall_of(moment), clock.wall()) == (NOON + jump, NOON + 60 + jump)


@pytest.mark.semantics("D-10", "D-10b")
@pytest.mark.parametrize(
    ("off", "wall", "newest", "expected"),
    [
        (60.0, 0.0, 0.0, NOON + 160),  # the clock of the day tells for how long the machine was off
        (60.0, -DAY, 0.0, NOON + 100),  # unless it is behind what was seen
        (60.0, -NOON, NOON + 130, NOON + 130),  # or what something bears: a device without a battery for its clock
        (60.0, DAY, 0.0, NOON + 160 + DAY),  # ahead, nobody can tell
        (60.0, 0.0, 1e15, NOON + 160),  # no clock has ever shown that
        (60.0, 0.0, math.inf, NOON + 160),
    ],
)
def test_over_another_start_of_the_machine_it_never_goes_back(
    off: float, wall: float, newest: float, expected: float
) -> None:
    hands = Hands()
    clock = resume(hands.machine, None, 0.0)
    hands.pass_(100)
    left = kept(clock)
    hands.pass_(off)
    hands.reboot()
    hands.wall += wall
    assert resume(hands.machine, left, newest).now() == expected


@pytest.mark.parametrize(
    "left", [Kept("first", math.nan, NOON), Kept("first", 1e300, NOON), Kept("", 5.0, 1e300), Kept("first", -1e9, -1.0)]
)
def test_what_is_kept_and_damaged_counts_for_nothing(left: Kept) -> None:
    hands = Hands()
    hands.boot = left.boot
    assert resume(hands.machine, left, 0.0).now() == NOON


def test_this_machine_tells_its_start_and_its_ticks_never_go_back() -> None:
    ticks = [tick() for _ in range(100)]
    assert all(one <= other for one, other in itertools.pairwise(ticks))
    assert boot() == boot() != ""
    assert MACHINE.wall() <= time_of(tick()) + 1 <= MAX_TIME
