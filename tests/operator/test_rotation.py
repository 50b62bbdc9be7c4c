"""The next step of a rotation, in a world of operators, replicas and API servers that has a clock of its own. Pure."""

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3d_operator.__main__ import main
from s3d_operator.certs import Pair, authorities, expiry, make_pair, serves
from s3d_operator.rotation import COMING, SecretContents, Seen, Step, is_due, next_step, read_contents, wanted
from tests.operator.rotations import NOW, TARGET, USUAL, covers

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class World:
    """A Secret, a configuration with two webhooks, and an operator, in time that passes when it is told to.

    The API servers believe any bundle of the last minute, the replicas serve any leaf of the last ten: as late as the
    schedule allows, and each for itself.
    """

    def __init__(self) -> None:
        self.time = 0.0
        self.data: dict[str, bytes] = {}
        self.bundles: tuple[bytes, ...] = (b"", b"")
        self.start_operator()
        self.settle()
        self.forget_the_past()

    def forget_the_past(self) -> None:
        self.kepts, self.published = [(self.time, self.kept)], [(self.time, self.bundles)]

    @property
    def kept(self) -> SecretContents:
        labels = {"app.kubernetes.io/managed-by": "s3d-operator"}
        data = {name: base64.b64encode(value).decode() for name, value in self.data.items()}
        return read_contents({"metadata": {"name": "s", "labels": labels}, "data": data})

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.time)

    @property
    def served(self) -> Pair:
        assert self.kept.served
        return self.kept.served

    def start_operator(self) -> None:
        self.since: dict[str, tuple[Any, float]] = {}

    def seconds(self, what: str, state: Any) -> float:
        if what not in self.since or self.since[what][0] != state:
            self.since[what] = (state, self.time)
        return self.time - self.since[what][1]

    def look(self) -> Step | None:
        """What the operator does when it looks."""
        seconds = self.seconds("kept", self.kept), self.seconds("bundles", self.bundles)
        step = next_step(Seen(self.kept, self.bundles, *seconds), TARGET.hosts, USUAL, self.now)
        if step and step.data is not None:
            self.data = {name: value for name, value in {**self.data, **step.data}.items() if value is not None}
        if step and step.bundle is not None:
            self.bundles = (step.bundle,) * 2
        if step and hasattr(self, "kepts"):
            self.kepts.append((self.time, self.kept))
            self.published.append((self.time, self.bundles))
        return step

    def wait(self, seconds: float) -> None:
        self.time += seconds

    def settle(self) -> list[str]:
        """Look until there is nothing to do, and has not been for a while; what was done."""
        said, idle = [], 0
        while idle < 3:
            step = self.look()
            said += [step.says] if step else []
            idle = 0 if step else idle + 1
            self.wait(USUAL.retire_seconds if not step else 1)
        return said

    def in_effect(self, history: list[tuple[float, Any]], seconds: float) -> Iterator[Any]:
        """What was so at any time in the last seconds."""
        ends = [start for start, _ in history[1:]] + [float("inf")]
        return (state for (_, state), end in zip(history, ends, strict=True) if end > self.time - seconds)

    def check(self) -> None:
        """Whatever a replica may serve is believed by whatever an API server may believe, until it has run out."""
        leaves = [kept.served for kept in self.in_effect(self.kepts, USUAL.retire_seconds)]
        if all(expiry(leaf) > self.now for leaf in leaves):
            for bundles in self.in_effect(self.published, USUAL.settle_seconds):
                assert all(covers(bundle, leaf) for leaf in leaves for bundle in bundles)


def test_a_new_installation_has_a_certificate_at_once_and_its_ca_is_published_before_it_is_served() -> None:
    world = World.__new__(World)
    world.time, world.data, world.bundles = 0.0, {}, (b"", b"")
    world.start_operator()
    said = [step.says for step in iter(world.look, None)]
    assert said == ["made the next certificate", "published the CA", "the next certificate is served"]
    assert serves(world.served, TARGET.hosts, world.now)


def test_a_certificate_is_left_alone_until_a_third_of_its_life_is_left() -> None:
    world = World()
    world.wait(59 * DAY)
    assert world.settle() == []
    world.wait(DAY)
    assert world.settle() == [
        "made the next certificate",
        "published the CA",
        "the next certificate is served",
        "the former certificate is served no more",
        "took the former CA back",
    ]
    assert world.bundles == (world.served.authority,) * 2


def test_the_next_leaf_waits_for_a_minute_after_its_ca_was_published_and_the_former_ca_goes_ten_minutes_later() -> None:
    world = World()
    old = world.served
    world.wait(60 * DAY)
    assert [bool(world.look()) for _ in range(3)] == [True, True, False]
    world.wait(USUAL.settle_seconds - 1)
    assert world.look() is None
    assert world.served == old
    world.wait(1)
    assert world.look()
    assert world.served != old
    assert world.look() is None
    world.wait(USUAL.retire_seconds - 1)
    assert world.look() is None
    assert all(covers(bundle, old) for bundle in world.bundles)
    world.wait(1)
    assert world.look()
    assert world.look() is None, "until the Secret has been as it is now for as long"


moves = st.lists(
    st.sampled_from(
        [*["look"] * 6, "operator is killed", 1.0, MINUTE / 2, MINUTE, 5 * MINUTE, 4 * HOUR, DAY, 12 * DAY]
    ),
    max_size=80,
)


@pytest.mark.checklist(23)
@settings(max_examples=60, deadline=None)
@given(moves)
def test_whenever_the_operator_looks_or_is_killed_every_leaf_is_believed_by_every_api_server(
    given: list[str | float],
) -> None:
    """It begins shortly before the certificate is due, so that most of the moves are made while one is replaced."""
    world = World()
    world.wait(60 * DAY - 4 * HOUR)
    for move in [*given, *["look"] * 5]:
        if move == "look":
            world.look()
        elif move == "operator is killed":
            world.start_operator()
        else:
            world.wait(float(move))
        world.check()
    world.settle()
    assert serves(world.served, TARGET.hosts, world.now)
    assert expiry(world.served) - world.now > USUAL.renew_before
    assert world.bundles == (world.served.authority,) * 2
    assert set(world.data) == {"tls.crt", "tls.key", "ca.crt"}


@pytest.mark.checklist(23)
def test_an_operator_that_is_killed_after_each_write_rotates_all_the_same() -> None:
    world = World()
    old = world.served
    world.wait(60 * DAY)
    while world.served == old or world.kept.former:
        world.start_operator()
        while not world.look():
            world.wait(MINUTE)
            world.check()
        world.check()
    for _ in range(20):
        world.look()
        world.wait(MINUTE)
        world.check()
    assert world.bundles == (world.served.authority,) * 2


@pytest.mark.parametrize(
    ("days_left", "former", "expected"), [(31, b"", False), (30, b"", True), (30, b"x", False), (15, b"x", True)]
)
def test_a_rotation_that_is_not_finished_holds_up_the_next_only_for_a_while(
    days_left: int, former: bytes, expected: bool
) -> None:
    pair = make_pair(TARGET.hosts, NOW, USUAL.lifetime)
    assert is_due(pair, former, USUAL, NOW + USUAL.lifetime - timedelta(days=days_left)) is expected


def test_what_somebody_else_made_of_the_bundle_is_published_again_with_all_that_may_be_served() -> None:
    world = World()
    world.wait(60 * DAY)
    while not world.kept.former:
        world.look()
        world.wait(MINUTE)
    both = set(wanted(world.kept))
    assert len(both) == 2
    for foreign in (b"", b"nonsense", make_pair(["other"], world.now, timedelta(days=1)).authority):
        world.bundles = (world.bundles[0], foreign)
        step = world.look()
        assert step
        assert step.says == "published the CA"
        assert all(both <= set(authorities(bundle)) for bundle in world.bundles)
    world.settle()
    assert world.bundles == (world.served.authority,) * 2


def test_a_bundle_that_is_undone_every_three_minutes_does_not_hold_up_a_rotation() -> None:
    world = World()
    old, stale = world.served, world.bundles
    world.wait(60 * DAY)
    for second in range(2400):
        if second % 180 == 0:
            world.bundles = stale
        if second % 10 == 0:
            world.look()
        world.wait(1)
    assert world.served != old
    assert not world.kept.former


@pytest.mark.parametrize("lost", ["all of it", "the key", "the CA", "garbled", "another name's", "another's key"])
def test_where_the_secret_is_damaged_the_leaf_that_replicas_may_serve_stays_believed_until_the_next_is_served(
    lost: str,
) -> None:
    world = World()
    old = world.served
    other = make_pair(["other.svc"], world.now, timedelta(days=90))
    world.data |= {
        "all of it": {"tls.crt": b"", "tls.key": b"", "ca.crt": b""},
        "the key": {"tls.key": b""},
        "the CA": {"ca.crt": b""},
        "garbled": {"tls.crt": b"garbled"},
        "another name's": {"tls.crt": other.certificate, "tls.key": other.key, "ca.crt": other.authority},
        "another's key": {"tls.key": other.key},
    }[lost]
    while not (world.kept.served and serves(world.kept.served, TARGET.hosts, world.now)):
        assert all(covers(bundle, old) for bundle in world.bundles)
        world.look()
        world.wait(10)
    world.settle()
    assert world.bundles == (world.served.authority,) * 2


def test_a_next_pair_that_cannot_be_used_is_made_anew_and_never_served() -> None:
    world = World()
    world.wait(60 * DAY)
    world.look()
    for name in COMING:
        world.data[name] = b"garbled"
        step = world.look()
        assert step
        assert step.says == "made the next certificate"
    world.settle()
    assert serves(world.served, TARGET.hosts, world.now)


def test_one_that_has_run_out_is_replaced_without_a_wait_since_it_is_believed_by_nobody() -> None:
    world = World()
    world.wait(91 * DAY)
    assert [bool(world.look()) for _ in range(4)] == [True, True, True, False]
    assert serves(world.served, TARGET.hosts, world.now)
    assert world.kept.former == b""


@pytest.mark.parametrize("jump", [-400 * DAY, -DAY, 70 * DAY, 400 * DAY])
def test_a_clock_that_jumps_and_jumps_back_is_followed(jump: float) -> None:
    world = World()
    for seconds in (jump, -jump):
        world.wait(seconds)
        world.start_operator()
        world.settle()
        assert serves(world.served, TARGET.hosts, world.now)
        assert world.bundles == (world.served.authority,) * 2
        assert expiry(world.served) - world.now <= USUAL.lifetime + timedelta(hours=1)


def test_a_certificate_for_ten_years_is_replaced_with_the_same_care() -> None:
    world = World()
    old = make_pair(TARGET.hosts, world.now, timedelta(days=3650))
    world.data = {"tls.crt": old.certificate, "tls.key": old.key, "ca.crt": old.authority}
    world.bundles = (old.authority,) * 2
    world.forget_the_past()
    while world.served == old or world.kept.former:
        world.look()
        world.wait(10)
        world.check()
    world.settle()
    assert world.bundles == (world.served.authority,) * 2


@pytest.mark.parametrize(
    "given", [{"lifetime": 10, "renew-before": 10}, {"renew-before": 5, "settle": 5}, {"settle": 0}]
)
def test_times_that_leave_no_room_for_a_rotation_are_refused(
    given: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reconcile", "--image=s3d", *(f"--certificate-{name}={value}" for name, value in given.items())]) == 2
    assert "--certificate-renew-before" in capsys.readouterr().err
