"""The filter of the push: what it does not take in stays here, held, until rules or tags say otherwise (F-4a)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from s3d.errors import S3Error
from s3d.layers.queue import judging
from s3d.layers.queue.push.conflicts import NOTHING
from s3d.layers.queue.rows import holds
from s3d.protocol import checksums
from tests.gateways import Gateway, gateway, quick
from tests.queues import until
from tests.sidecar.layers.queue.filtering import LONG, put, puts, reload, soon, stand_in
from tests.stores import Odd, Store, there

__all__ = ["quick", "soon"]

pytestmark = pytest.mark.usefixtures("quick")


def rule_of(here: Gateway, key: str) -> str:
    return str(here.queue.object_status("b", key)["changes"][-1]["rule"])


class Case(NamedTuple):
    """A put, and what the filter says of it."""

    rules: str
    rule: str = ""
    """The rule that holds it; "": it is pushed."""
    params: Mapping[str, Any] = {}


NOBODY = "the push filter, none of whose rules takes it in,"
CASES = [
    Case("b"),
    Case("other", NOBODY),
    Case("!b/k", "the rule !b/k of the push filter"),
    Case("b/*[tag:class!=secret]"),
    Case("b/*[tag:class!=secret]", NOBODY, {"Tagging": "class=secret"}),
    Case("!b/*[hdr:content-length>4]", "the rule !b/*[hdr:content-length>4] of the push filter"),
    Case("b[tag:team=blue]"),
    Case("b[tag:team=red]", NOBODY),
    # A tag of the delivery comes before the filter.
    Case("other", "", {"Tagging": "s3d.upload=true"}),
    Case("b", "the tag s3d.upload=false of the object", {"Tagging": "s3d.upload=false"}),
    # What is not known holds.
    Case(
        "!b/*[hdr:content-type<5]",
        "the rule !b/*[hdr:content-type<5] of the push filter, of which is not known whether it matches,",
    ),
]


@pytest.mark.semantics("F-4a", "F-5b")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rules} {case.params} {case.rule}")
async def test_what_the_push_filter_does_not_take_in_is_queued_and_held(case: Case, tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, push_filter=case.rules) as here:
        await stand_in(store, here)
        await put(here, "k", **case.params)
        if case.rule:
            assert (here.state("b", "k"), rule_of(here, "k")) == ("held", case.rule)
            assert there(store) == []
        else:
            await until(lambda: there(store) == ["k"])


@pytest.mark.semantics("F-4a", "Q-11")
async def test_another_filter_judges_what_waits_and_what_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "MAX_BATCH", 50)
    settings: dict[str, Any] = {"push_filter": "!b/held*", "workers": 1, "conflict_check_after": LONG}
    async with Store() as store, gateway(tmp_path, store, **settings) as here:
        await stand_in(store, here)
        keys = [f"held-{number:04}" for number in range(120)]
        for key in keys:
            await put(here, key)
        assert there(store) == []
        reload(here, "!b/held-0000")
        await until(lambda: len(there(store)) == len(keys) - 1)
        assert here.state("b", keys[0]) == "held"
        assert puts(store) == keys[1:]
        reload(here)
        await until(lambda: len(there(store)) == len(keys))
        assert puts(store) == [*keys[1:], keys[0]]


@pytest.mark.semantics("F-4a", "Q-18")
async def test_what_is_released_after_long_is_written_once_and_one_put_asks_a_question(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"push_filter": "!b/held*", "workers": 1, "conflict_check_after": 0.0}
    async with Store() as store, gateway(tmp_path, store, **settings) as here:
        await stand_in(store, here)
        keys = [f"held-{number}" for number in range(5)]
        for key in keys:
            await put(here, key)
        reload(here)
        await until(lambda: len(there(store)) == len(keys) and here.queue.pending()["changes"] == 0)
        # It cannot succeed: the object is there, and the digest is that of no bytes (decision 14).
        asked = [one for one in store.seen if one.headers.get("Content-MD5") == checksums.content_md5(NOTHING)]
        assert [(one.key, one.headers.get("If-None-Match")) for one in asked] == [(keys[0], "*")]
        assert [one.key for one in store.seen if one.operation == "PutObject" and one not in asked] == keys


@pytest.mark.semantics("F-4a", "Q-1")
@pytest.mark.parametrize("answered", [True, False])
async def test_what_is_being_pushed_while_the_filter_changes_is_pushed_once(
    answered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "MAX_BATCH", 2)
    keys = [f"k{number}" for number in range(7)]
    settings: dict[str, Any] = {"push_filter": "!b", "workers": 1, "conflict_check_after": LONG}
    async with Store() as store, gateway(tmp_path, store, **settings) as here:
        await stand_in(store, here)
        for key in keys:
            await put(here, key)
        # The first of a batch is under way when all of them are judged, twice.
        store.hook(Odd(held=True, applied=True, status=None if answered else 503), "PutObject", times=1)
        reload(here)
        await until(lambda: puts(store) == keys[:1])
        for rules, state in (["!b"], "held"), ([], "waiting"):
            reload(here, *rules)
            await until(lambda: all(here.state("b", key) == state for key in keys[1:]))  # noqa: B023
            assert (here.state("b", keys[0]), puts(store)) == ("pushing", keys[:1])
        store.release()
        await until(lambda: here.queue.pending()["changes"] == 0)
        assert sorted(puts(store)) == sorted(keys if answered else [keys[0], *keys])


@pytest.mark.semantics("F-4a", "Q-2")
async def test_a_change_behind_one_that_is_being_pushed_is_judged_and_superseded_by_itself(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, conflict_check_after=LONG) as here:
        await stand_in(store, here)
        await put(here, "k")
        await until(lambda: here.queue.pending()["changes"] == 0)
        before = len(puts(store))
        store.hook(Odd(held=True), "PutObject", times=1)
        await put(here, "k", ContentType="text/first")
        await until(lambda: len(puts(store)) == before + 1)
        await put(here, "k", ContentType="text/second")
        reload(here, "!b/k")
        await until(lambda: here.state("b", "k") == "held")
        await put(here, "k", ContentType="text/third")
        store.release()
        await until(lambda: here.queue.pending()["changes"] == 1)
        reload(here)
        await until(lambda: here.queue.pending()["changes"] == 0)
        types = [one.headers.get("Content-Type") for one in store.seen if one.operation == "PutObject"]
        assert types[before:] == ["text/first", "text/third"]


@pytest.mark.semantics("F-4a", "Q-9")
async def test_what_is_parked_is_judged_by_the_filter_of_now_when_it_is_tried_again(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store) as here:
        await stand_in(store, here)
        await put(here, "first of its kind")
        store.hook(Odd(status=400, body="<Error><Code>EntityTooLarge</Code></Error>"), "PutObject", key="k")
        await put(here, "k")
        await until(lambda: here.state("b", "k") == "parked")
        reload(here, "!b/k")
        await until(lambda: holds.filter_text(here.queue._context.db) == "!b/k")
        store.clear()
        said = await here.queue.retry("b", "", None)
        assert (said["changes"], [one["state"] for one in said["left"]]) == (0, ["held"])
        assert rule_of(here, "k") == "the rule !b/k of the push filter"
        reload(here)
        await until(lambda: "k" in there(store))


@pytest.mark.semantics("F-4a")
async def test_a_filter_that_is_another_at_the_next_start_judges_what_is_left(tmp_path: Path) -> None:
    async with Store() as store:
        async with gateway(tmp_path, store, push_filter="!b/k") as here:
            await stand_in(store, here)
            await put(here, "k")
        async with gateway(tmp_path, store, push_filter="!b/k"):
            pass
        assert there(store) == []
        async with gateway(tmp_path, store):
            await until(lambda: there(store) == ["k"])


@pytest.mark.parametrize("rules", ["", "!b/k"])
async def test_a_filter_that_stays_is_put_in_force_once(rules: str, tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, push_filter=rules) as here:
        assert holds.filter_text(here.queue._context.db) == rules


@pytest.mark.semantics("F-4a", "F-5c")
async def test_a_tag_of_the_bucket_that_is_put_through_the_gateway_acts_at_once(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, push_filter="b[tag:team=blue]") as here:
        await stand_in(store, here, "red")
        await put(here, "k")
        assert here.state("b", "k") == "held"
        tags = {"TagSet": [{"Key": "team", "Value": "blue"}]}
        await here.ask("PutBucketTagging", {"Bucket": "b", "Tagging": tags})
        await until(lambda: there(store) == ["k"])
        await here.ask("DeleteBucketTagging", {"Bucket": "b"})
        await put(here, "k2")
        assert here.state("b", "k2") == "held"


@pytest.mark.semantics("F-5c")
async def test_a_tag_of_the_bucket_that_is_put_elsewhere_releases_what_it_held(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, push_filter="b[tag:team=blue]") as here:
        await stand_in(store, here, "red")
        await put(here, "k")
        store.fake.buckets["b"].tags = (("team", "blue"),)
        await until(lambda: there(store) == ["k"])


@pytest.mark.semantics("F-4a", "Q-11")
async def test_other_tags_of_an_object_release_it(tmp_path: Path) -> None:
    rules = "!b/*[tag:class=secret]"
    async with Store() as store, gateway(tmp_path, store, push_filter=rules) as here:
        await stand_in(store, here)
        await put(here, "k", Tagging="class=secret")
        assert here.state("b", "k") == "held"
        tags = {"TagSet": [{"Key": "class", "Value": "public"}]}
        await here.ask("PutObjectTagging", {"Bucket": "b", "Key": "k", "Tagging": tags})
        await until(lambda: there(store) == ["k"])


@pytest.mark.semantics("F-5b")
async def test_a_delete_is_judged_by_the_last_put_of_its_key(tmp_path: Path) -> None:
    rules = "b/first, b/*[tag:class=public]"
    async with Store() as store, gateway(tmp_path, store, push_filter=rules, delay=3600.0) as here:
        await stand_in(store, here)
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "first"})
        await put(here, "public", Tagging="class=public")
        await put(here, "public again", Tagging="class=public")
        await put(here, "secret", Tagging="class=secret")
        for key in ("public again", "secret", "nobody knows"):
            await here.ask("DeleteObject", {"Bucket": "b", "Key": key})
        assert here.state("b", "public again") == "waiting"
        assert here.state("b", "secret") == "held"
        assert "of which is not known" in rule_of(here, "nobody knows")


@pytest.mark.semantics("F-5b")
async def test_a_delete_goes_on_being_judged_by_the_put_that_it_took_the_place_of(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, delay=3600.0) as here:
        await stand_in(store, here)
        for key in ("first of its kind", "public", "secret"):
            await put(here, key, Tagging=f"class={key}")
            await here.ask("DeleteObject", {"Bucket": "b", "Key": key})
        reload(here, "b/*[tag:class=public]")
        await until(lambda: here.state("b", "secret") == "held")
        assert here.state("b", "public") == "waiting"
        (change,) = here.queue.object_status("b", "public")["changes"]
        assert ("b/*[tag:class=public]", "yes") in {
            (line["rule"], line["matches"]) for line in here.queue.why(change["seq"])["asked"]
        }


OBJECT, BUCKET = ("the tag s3d.upload of the object", "no", ""), ("the tag s3d.upload of the bucket", "no", "")
WHY: dict[str, tuple[str, str, Mapping[str, Any], list[tuple[str, str, str]]]] = {
    "no filter": ("", "", {}, [OBJECT, BUCKET, ("", "", "there is no push filter: it may leave")]),
    "its own tag": (
        "b",
        "the tag s3d.upload=false of the object",
        {"Tagging": "s3d.upload=false"},
        [("the tag s3d.upload=false of the object", "yes", "holds it, and decides")],
    ),
    "a rule": (
        "b, !b/k, other",
        "the rule !b/k of the push filter",
        {},
        [
            OBJECT,
            BUCKET,
            ("", "", "no object is in until a rule matches"),
            ("b", "yes", "takes it in"),
            ("!b/k", "yes", "leaves it out, and decides"),
            ("other", "no", ""),
        ],
    ),
}


@pytest.mark.semantics("F-4b")
@pytest.mark.parametrize("case", WHY)
async def test_of_a_pending_change_each_rule_is_told_and_which_decides(case: str, tmp_path: Path) -> None:
    rules, rule, params, lines = WHY[case]
    async with Store() as store, gateway(tmp_path, store, push_filter=rules, delay=3600.0) as here:
        await stand_in(store, here)
        await put(here, "first of its kind", **params)
        await put(here, "k", **params)
        (change,) = here.queue.object_status("b", "k")["changes"]
        said = here.queue.why(change["seq"])
        assert (said["rule"], said["change"]["key"]) == (rule, "k")
        assert [(line["rule"], line["matches"], line["effect"]) for line in said["asked"]] == lines
        with pytest.raises(S3Error, match="No pending change has the number 0"):
            here.queue.why(0)
