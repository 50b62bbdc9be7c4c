import asyncio
import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from s3d.errors import ConfigError
from s3d_operator.__main__ import main
from s3d_operator.certs import CertificateTarget, Pair, authorities, expiry, make_pair, serves, to_secret
from s3d_operator.kube import ApiError, Kube
from s3d_operator.rotation import (
    COMING,
    Keeper,
    Schedule,
    SecretContents,
    Seen,
    Step,
    is_due,
    keep,
    next_step,
    read_contents,
    wanted,
)
from tests.operator.apiserver import ApiServer, serving

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TARGET = CertificateTarget("s3d-system", "s3d-webhook", "s3d-webhook-tls", "s3d")
SECRET = "/api/v1/namespaces/s3d-system/secrets/s3d-webhook-tls"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CONFIGURATION = f"{CONFIGURATIONS}/s3d"
VALIDATION = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/s3d"
USUAL = Schedule()
AT_ONCE = Schedule(settle_seconds=0)
ALWAYS = replace(AT_ONCE, renew_before=AT_ONCE.lifetime)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def covers(bundle: bytes, pair: Pair) -> bool:
    """Whether who believes a bundle believes a pair's leaf."""
    leaf = x509.load_pem_x509_certificate(pair.certificate)
    for each in authorities(bundle):
        try:
            leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(each))
        except Exception:  # noqa: BLE001 # not this one
            continue
        return True
    return False


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


@pytest.fixture
def webhooks(api: ApiServer) -> list[dict[str, Any]]:
    """The webhooks of both configurations, as the chart made them."""
    made = [{"name": f"{n}.s3d.dev", "clientConfig": {"service": {"name": "s3d"}}, "mine": n} for n in (1, 2, 3)]
    api.put(CONFIGURATION, {"metadata": {"name": "s3d"}, "webhooks": made[:2]})
    api.put(VALIDATION, {"metadata": {"name": "s3d"}, "webhooks": made[2:]})
    return made


def webhooks_of(api: ApiServer) -> list[dict[str, Any]]:
    return [each for path in (CONFIGURATION, VALIDATION) for each in api.objects[path]["webhooks"]]


def bundles_of(api: ApiServer) -> set[bytes]:
    return {base64.b64decode(each["clientConfig"].get("caBundle", "")) for each in webhooks_of(api)}


def served_of(api: ApiServer) -> Pair | None:
    return read_contents(api.objects[SECRET]).served


@pytest.mark.checklist(2)
@pytest.mark.checklist(23)
async def test_of_the_configuration_nothing_but_the_bundle_is_ever_written_and_the_leaf_is_always_covered(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    """Each look is another process: whatever one knew is gone with it."""
    leaves = set()
    for _ in range(30):
        assert await Keeper(client, TARGET, ALWAYS).advance()
        if served := served_of(api):
            leaves.add(served.certificate)
            assert all(covers(bundle, served) for bundle in bundles_of(api))
            assert len(api.objects[SECRET]["data"]) < 8
    assert len(leaves) >= 5
    now = [each | {"clientConfig": each["clientConfig"] | {"caBundle": ""}} for each in webhooks_of(api)]
    assert now == [each | {"clientConfig": each["clientConfig"] | {"caBundle": ""}} for each in webhooks]
    assert {request.split()[0] for request in api.requests if "webhookconfigurations" in request} == {"GET", "PATCH"}


async def test_it_comes_to_rest_and_writes_nothing_then(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    keeper = Keeper(client, TARGET, AT_ONCE)
    while await keeper.advance():
        pass
    assert api.objects[SECRET]["type"] == "kubernetes.io/tls"
    served = served_of(api)
    assert served
    assert bundles_of(api) == {served.authority}
    api.requests.clear()
    assert not await Keeper(client, TARGET, AT_ONCE).advance()
    assert {request.split()[0] for request in api.requests} == {"GET"}


async def test_a_cas_key_is_kept_nowhere(api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]) -> None:
    for _ in range(12):
        await Keeper(client, TARGET, ALWAYS).advance()
        kept = api.objects[SECRET]["data"]
        for name, value in kept.items():
            assert (b"PRIVATE KEY" in base64.b64decode(value)) <= (name in {"tls.key", "next.key"})
        for pair in (read_contents(api.objects[SECRET]).served, read_contents(api.objects[SECRET]).coming):
            assert pair is None or serves(pair, TARGET.hosts, client.now), "the key is the leaf's"


async def test_where_a_lost_secret_is_made_anew_what_replicas_serve_from_memory_stays_believed(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    keeper = Keeper(client, TARGET, replace(USUAL, settle_seconds=3600))
    while await keeper.advance():
        pass
    old = served_of(api)
    assert old
    api.delete(SECRET)
    while await keeper.advance():
        pass
    assert served_of(api) is None, "its CA has not been published for an hour"
    assert all(covers(bundle, old) for bundle in bundles_of(api))


async def test_a_secret_that_holds_something_else_is_left_alone(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    api.put(SECRET, {"metadata": {"name": "s3d-webhook-tls"}, "data": {"mine": "eA=="}})
    with pytest.raises(ConfigError, match="s3d-webhook-tls"):
        await Keeper(client, TARGET, AT_ONCE).advance()
    assert api.objects[SECRET]["data"] == {"mine": "eA=="}


async def test_two_operators_at_once_do_not_undo_each_other(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    """One of two that saw the same is refused, whatever it was about to write."""
    for _ in range(12):
        both = [Keeper(client, TARGET, ALWAYS).advance() for _ in range(2)]
        done = await asyncio.gather(*both, return_exceptions=True)
        assert True in done
        if served := served_of(api):
            assert all(covers(bundle, served) for bundle in bundles_of(api))


class Contended(ApiServer):
    """A server on which somebody else writes the configuration whenever it was read."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        answer = await super().answer(request)
        if request.path == CONFIGURATION:
            self.put(CONFIGURATION, self.objects[CONFIGURATION])
        return answer


async def test_a_configuration_that_was_written_since_it_was_read_is_read_again_first() -> None:
    api = Contended()
    api.put(CONFIGURATION, {"metadata": {"name": "s3d"}, "webhooks": [{"name": "a", "clientConfig": {}}]})
    async with serving(api) as server, Kube(server) as client:
        assert await Keeper(client, TARGET, AT_ONCE).advance()
        with pytest.raises(ApiError):
            await Keeper(client, TARGET, AT_ONCE).advance()
    assert api.objects[CONFIGURATION]["webhooks"] == [{"name": "a", "clientConfig": {}}]


async def test_a_ca_that_reached_one_of_both_configurations_is_published_to_the_other_before_its_leaf_is_served(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    """As where the operator is killed between the two writes, or one of the objects is made anew."""
    keeper = Keeper(client, TARGET, AT_ONCE)
    while await keeper.advance():
        pass
    api.put(VALIDATION, {"metadata": {"name": "s3d"}, "webhooks": webhooks[2:]})
    old = served_of(api)
    assert old
    assert await Keeper(client, TARGET, AT_ONCE).advance()
    assert bundles_of(api) == {old.authority}
    assert served_of(api) == old


async def test_the_api_servers_clock_counts_and_not_ours(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    client.now = NOW - timedelta(days=4000)
    await Keeper(client, TARGET, AT_ONCE).advance()
    coming = read_contents(api.objects[SECRET]).coming
    assert coming
    assert serves(coming, TARGET.hosts, datetime.now(UTC))


@pytest.mark.checklist(59)
async def test_a_certificate_of_others_is_neither_made_nor_published(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    before = api.objects.copy()
    await keep(client, replace(TARGET, issued=False), USUAL)
    assert api.objects == before


async def test_a_pair_of_others_that_serves_is_served_until_it_is_due(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    pair = make_pair(TARGET.hosts, datetime.now(UTC), timedelta(days=80))
    api.put(SECRET, to_secret(pair, TARGET))
    keeper = Keeper(client, TARGET, AT_ONCE)
    while await keeper.advance():
        pass
    assert served_of(api) == pair
    assert bundles_of(api) == {pair.authority}


@pytest.mark.parametrize(
    "given", [{"lifetime": 10, "renew-before": 10}, {"renew-before": 5, "settle": 5}, {"settle": 0}]
)
def test_times_that_leave_no_room_for_a_rotation_are_refused(
    given: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reconcile", "--image=s3d", *(f"--certificate-{name}={value}" for name, value in given.items())]) == 2
    assert "--certificate-renew-before" in capsys.readouterr().err
