"""A policy that is asked what may leave (F-3): after the acknowledgement and before the claim. Nobody waits for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from s3d import config, opa
from s3d.errors import S3Error
from s3d.layers.queue import asking, judging
from s3d.settings import Opa
from tests.callers import Answer
from tests.fakes.contents import Bucket
from tests.gateways import Gateway, gateway, quick
from tests.policies import Scripted, answering
from tests.stores import Odd, Store

__all__ = ["quick"]

REST = asking.REST
"""As it is outside of these tests."""
LONG = 3600.0
"""Seconds: longer than any test."""

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rests are short, and no answer is remembered."""
    monkeypatch.setattr(judging, "INTERVAL", 0.02)
    monkeypatch.setattr(asking, "REST", 0.05)
    monkeypatch.setattr(opa, "FRESH", 0.0)


@contextlib.asynccontextmanager
async def governed(
    directory: Path, store: Store, policy: Scripted, *, patience: float = 30.0, fail: str = "closed", **more: Any
) -> AsyncIterator[Gateway]:
    """A gateway that asks a policy."""
    async with answering(policy) as url:
        settings = Opa(url=url, timeout=patience, fail_upload=fail)
        # What waits for long is looked for and asked about at the store before it is pushed.
        limits = {"conflict_check_after": LONG, **more}
        async with gateway(directory, store, policy=settings, **limits) as here:
            store.fake.buckets.setdefault("b", Bucket("b", 0.0))
            await here.ask("HeadObject", {"Bucket": "b", "Key": "k"})
            yield here


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what is waited for says nothing
            await asyncio.sleep(0.01)


def there(store: Store) -> list[str]:
    """The keys that the remote has."""
    return [key for key, versions in store.fake.buckets["b"].keys.items() if versions]


def sent(store: Store) -> list[str]:
    """What changes objects and was sent to the remote, in order."""
    return [one.key for one in store.seen if one.operation in ("PutObject", "DeleteObject", "CreateMultipartUpload")]


async def put(here: Gateway, key: str = "k", data: bytes = b"12345", **params: Any) -> None:
    answer = await here.ask("PutObject", {"Bucket": "b", "Key": key, **params}, data)
    assert isinstance(answer, Answer), answer
    assert answer.headers["x-s3d-durability"] == "local"


def rule_of(here: Gateway, key: str = "k") -> str:
    return str(here.queue.object_status("b", key)["changes"][-1]["rule"])


@pytest.mark.semantics("F-3", "F-3c")
async def test_what_the_policy_lets_leave_is_pushed_and_the_rest_is_held_with_the_decision(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["tags"].get("class") != "secret")
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here, "public")
        await until(lambda: there(store) == ["public"])
        await put(here, "private", Tagging="class=secret", ContentType="text/plain", Metadata={"author": "Ada"})
        await until(lambda: here.state("b", "private") == "held")
        assert policy.asked[-1] == {
            "operation": "put",
            "bucket": "b",
            "key": "private",
            "identity": "",
            "size": 5,
            "tags": {"class": "secret"},
            "metadata": {"author": "Ada"},
            "headers": {"content-type": "text/plain"},
        }
        assert rule_of(here, "private") == "the policy (decision d2)"
        (held,) = here.queue.kept("b", "", None, 0)
        why = here.queue.why(held["seq"])
        assert (why["rule"], why["asked"][-1]["rule"], why["asked"][-1]["effect"]) == (
            "the policy (decision d2)",
            "the policy",
            "holds it",
        )
        assert sent(store) == ["public"]


@pytest.mark.semantics("F-3a", "F-3b")
async def test_while_the_policy_hangs_puts_are_answered_and_nothing_leaves_and_then_all_of_it(tmp_path: Path) -> None:
    policy = Scripted()
    policy.hangs = True
    keys = [f"k{number:03}" for number in range(100)]
    async with Store() as store, governed(tmp_path, store, policy, patience=0.05, workers=1) as here:
        for key in keys:
            await put(here, key)
        await until(lambda: here.queue.states()["held"] == len(keys))
        assert here.queue.pending()["unjudged"] == len(keys)
        assert "came to no decision: OPA gave no answer within 0.05 s" in rule_of(here, keys[0])
        assert sent(store) == []
        config.reload(here.queue._context.settings, {"S3D_OPA_TIMEOUT": "30s"})
        policy.heal()
        await until(lambda: len(there(store)) == len(keys))
        assert sent(store) == keys
        assert here.queue.pending()["unjudged"] == 0


@pytest.mark.semantics("F-3n")
async def test_while_nobody_answers_few_changes_are_held_at_a_time_however_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One transaction in the rest between two tries, which has no end.
    monkeypatch.setattr(asking, "REST", LONG)
    monkeypatch.setattr(asking, "PAUSE", LONG)
    policy = Scripted()
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here, "asked")
        await until(lambda: len(policy.asked) == 1)
        for number in range(5 * asking.FEW):
            await put(here, f"k{number:03}")
        policy.hang_up()
        await until(lambda: here.queue.states()["held"] > 1)
        assert here.queue.states()["held"] == 1 + asking.FEW
        assert here.queue.states()["waiting"] == 4 * asking.FEW
        assert (sent(store), len(policy.asked)) == ([], 1)


@pytest.mark.semantics("F-3m", "F-3n")
async def test_what_was_queued_last_before_the_policy_is_back_leaves_last(tmp_path: Path) -> None:
    policy = Scripted()
    policy.hangs_up = True
    keys = [f"k{number:03}" for number in range(40)]
    async with Store() as store, governed(tmp_path, store, policy, workers=1) as here:
        for key in keys[:20]:
            await put(here, key)
        await until(lambda: here.queue.states()["held"] == 20)
        # The next try goes on until the policy answers: what is queued meanwhile is not asked about.
        policy.hangs_up, policy.hangs, seen = False, True, len(policy.asked)
        await until(lambda: len(policy.asked) > seen)
        for key in keys[20:]:
            await put(here, key)
        assert (here.queue.states()["held"], here.queue.states()["waiting"]) == (20, 20)
        assert sent(store) == []
        # One question tells whether somebody answers.
        assert len(policy.asked) == seen + 1
        policy.heal()
        await until(lambda: len(there(store)) == len(keys))
        assert sent(store) == keys


@pytest.mark.semantics("F-3m")
def test_a_policy_that_is_back_is_asked_soon_enough_that_all_may_leave_in_five_seconds() -> None:
    # The last try in vain, and the rest behind it; what is left of the five seconds is for the questions.
    assert Opa().timeout + REST <= 1.5


@pytest.mark.semantics("F-3b")
async def test_a_policy_that_says_nothing_holds_until_it_decides(tmp_path: Path) -> None:
    policy = Scripted(lambda _: None)
    async with Store() as store, governed(tmp_path, store, policy) as here:
        for number in range(3):
            await put(here, f"k{number}")
        await until(lambda: here.queue.states()["held"] == 3)
        assert sent(store) == []
        policy.says = lambda _: True
        await until(lambda: len(there(store)) == 3)


@pytest.mark.semantics("F-3b")
@pytest.mark.parametrize(
    ("status", "text"),
    [(200, "{}"), (500, '{"result": true}'), (200, "<html>true</html>")],
    ids=["without its bundle", "500", "HTML"],
)
async def test_nothing_leaves_by_what_is_no_decision(status: int, text: str, tmp_path: Path) -> None:
    policy = Scripted()
    policy.instead = status, text
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here)
        await until(lambda: here.state("b", "k") == "held")
        # It is asked about again and again, and stays.
        seen = len(policy.asked)
        await until(lambda: len(policy.asked) > seen + 2)
        assert (sent(store), here.queue.pending()["unjudged"]) == ([], 1)


@pytest.mark.semantics("F-3b")
async def test_no_decision_about_one_object_keeps_no_other_waiting(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: None if asked["key"].startswith("odd") else True)
    async with Store() as store, governed(tmp_path, store, policy) as here:
        for number in range(asking.BATCH * 2):
            await put(here, f"odd{number}")
        await put(here, "even")
        await until(lambda: there(store) == ["even"])
        await until(lambda: here.queue.states()["held"] == asking.BATCH * 2)


@pytest.mark.semantics("F-3b")
async def test_where_failing_is_open_no_decision_lets_a_change_leave(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: {"no": False}.get(asked["key"]))
    async with Store() as store, governed(tmp_path, store, policy, fail="open") as here:
        await put(here, "undefined")
        await put(here, "no")
        await until(lambda: there(store) == ["undefined"])
        await until(lambda: here.state("b", "no") == "held")
        policy.hangs = True
        config.reload(here.queue._context.settings, {"S3D_OPA_TIMEOUT": "50ms"})
        await put(here, "unanswered")
        await until(lambda: sorted(there(store)) == ["unanswered", "undefined"])
        # What was denied needs a decision.
        assert here.state("b", "no") == "held"


@pytest.mark.semantics("F-3e")
async def test_a_barrier_waits_for_a_verdict_and_refuses_at_once_what_is_held(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["key"] == "k")
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here)
        waiting = asyncio.create_task(here.ask("PutObject", {"Bucket": "b", "Key": "k"}, b"new", if_match='"x"'))
        await until(lambda: bool(policy.asked))
        await asyncio.sleep(0)
        assert not waiting.done()
        policy.heal()
        answer = await waiting
        # The remote has judged the condition, upon the put that was waited for.
        assert isinstance(answer, S3Error)
        assert answer.code == "PreconditionFailed"
        assert there(store) == ["k"]
        await put(here, "other")
        await until(lambda: here.state("b", "other") == "held")
        refused = await here.ask("GetObjectAcl", {"Bucket": "b", "Key": "other"})
        assert isinstance(refused, S3Error)
        assert refused.status == 503
        assert "is held" in refused.message


@pytest.mark.semantics("F-3a", "Q-2")
async def test_a_newer_change_takes_the_place_of_one_that_nobody_has_judged(tmp_path: Path) -> None:
    policy = Scripted()
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here, data=b"old")
        await put(here, data=b"newer")
        await put(here, "gone")
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "gone"})
        policy.heal()
        await until(lambda: not here.queue.pending()["changes"])
        assert [one["size"] for one in policy.asked if one["operation"] == "put" and one["key"] == "k"][-1] == 5
        assert sorted(sent(store)) == ["gone", "k"]
        assert there(store) == ["k"]


@pytest.mark.semantics("F-3c")
async def test_other_tags_are_asked_about_anew(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["tags"].get("class") == "public")
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here)
        await until(lambda: here.state("b", "k") == "held")
        tags = {"TagSet": [{"Key": "class", "Value": "public"}]}
        assert isinstance(await here.ask("PutObjectTagging", {"Bucket": "b", "Key": "k", "Tagging": tags}), Answer)
        await until(lambda: there(store) == ["k"])


@pytest.mark.semantics("F-3a", "F-3c")
async def test_a_verdict_about_tags_that_are_others_by_now_is_none(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: not asked["tags"])
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here)
        await until(lambda: len(policy.asked) == 1)
        tags = {"TagSet": [{"Key": "class", "Value": "secret"}]}
        assert isinstance(await here.ask("PutObjectTagging", {"Bucket": "b", "Key": "k", "Tagging": tags}), Answer)
        policy.heal()
        await until(lambda: here.state("b", "k") == "held")
        assert policy.asked[-1]["tags"] == {"class": "secret"}
        assert sent(store) == []


@pytest.mark.semantics("F-3c", "F-4a")
async def test_rules_come_first_and_what_they_release_is_asked_about(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["key"] != "no")
    async with Store() as store, governed(tmp_path, store, policy, push_filter="!b") as here:
        await put(here, "yes")
        await put(here, "no")
        await put(here, "tagged", Tagging="s3d.upload=true")
        await until(lambda: there(store) == ["tagged"])
        assert [one["key"] for one in policy.asked] == ["tagged"]
        config.reload(here.queue._context.settings, {"S3D_WRITE_QUEUE_PUSH_FILTER": ""})
        await until(lambda: sorted(there(store)) == ["tagged", "yes"])
        await until(lambda: rule_of(here, "no").startswith("the policy"))


@pytest.mark.semantics("F-3c")
async def test_another_policy_is_asked_about_all_that_waits_or_is_held(tmp_path: Path) -> None:
    policy = Scripted(lambda _: False)
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here)
        await until(lambda: here.state("b", "k") == "held")
        policy.says = lambda _: True
        config.reload(here.queue._context.settings, {"S3D_OPA_PATH": "s3d/other"})
        await until(lambda: there(store) == ["k"])


@pytest.mark.semantics("F-3c")
async def test_what_a_policy_holds_leaves_when_there_is_no_policy_any_more(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: False if asked["key"] == "no" else None)
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here, "no")
        await put(here, "none")
        await until(lambda: here.queue.states()["held"] == 2)
        config.reload(here.queue._context.settings, {"S3D_OPA_URL": ""})
        await until(lambda: sorted(there(store)) == ["no", "none"])


@pytest.mark.semantics("F-3c")
async def test_what_the_policy_holds_is_asked_about_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "DENIED_REST", 0.05)
    policy = Scripted(lambda _: False)
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here)
        await until(lambda: here.state("b", "k") == "held")
        policy.says = lambda _: True
        await until(lambda: there(store) == ["k"])


@pytest.mark.semantics("F-3a")
async def test_a_restart_goes_on_asking_about_what_nobody_has_judged(tmp_path: Path) -> None:
    policy = Scripted()
    policy.hangs = True
    async with Store() as store:
        async with governed(tmp_path, store, policy) as here:
            await put(here)
        async with governed(tmp_path, store, policy) as here:
            assert here.queue.pending()["unjudged"] == 1
            assert sent(store) == []
            policy.heal()
            await until(lambda: there(store) == ["k"])


@pytest.mark.semantics("F-3", "F-5b")
async def test_a_delete_of_what_has_left_is_asked_about_with_its_key_alone(tmp_path: Path) -> None:
    policy = Scripted()
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here, Tagging="class=secret")
        await until(lambda: not here.queue.pending()["changes"])
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "k"})
        await until(lambda: not here.queue.pending()["changes"])
        assert policy.asked[-1] == {"operation": "delete", "bucket": "b", "key": "k", "identity": ""}


@pytest.mark.semantics("F-3", "F-5b")
@pytest.mark.parametrize("times", [1, 2])
async def test_a_delete_that_takes_the_place_of_a_put_is_asked_about_with_what_that_said(
    times: int, tmp_path: Path
) -> None:
    policy = Scripted(lambda asked: asked.get("tags", {}).get("class") != "secret")
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here, Tagging="class=secret", Metadata={"author": "Ada"})
        for _ in range(times):
            await here.ask("DeleteObject", {"Bucket": "b", "Key": "k"})
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "unknown"})
        policy.heal()
        await until(lambda: here.state("b", "k") == "held" and sent(store) == ["unknown"])
        asked = {one["key"]: one for one in policy.asked if one["operation"] == "delete"}
        assert asked["k"]["size"] == 5
        assert (asked["k"]["tags"], asked["k"]["metadata"]) == ({"class": "secret"}, {"author": "Ada"})
        assert asked["unknown"].keys() == {"operation", "bucket", "key", "identity"}


def tagging(value: str) -> dict[str, Any]:
    """Other tags for the object."""
    return {"Bucket": "b", "Key": "k", "Tagging": {"TagSet": [{"Key": "class", "Value": value}]}}


@pytest.mark.semantics("F-5b")
async def test_a_delete_is_judged_by_the_tags_that_wait_behind_its_put(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["operation"] == "put" or asked["tags"] == {"class": "public"})
    async with Store() as store, governed(tmp_path, store, policy) as here:
        store.hook(Odd(held=True), "PutObject", times=1)
        await put(here, Tagging="class=public")
        await until(lambda: sent(store) == ["k"])
        assert isinstance(await here.ask("PutObjectTagging", tagging("secret")), Answer)
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "k"})
        await until(lambda: here.state("b", "k") == "held")
        store.release()
        await until(lambda: here.queue.pending()["changes"] == 1)
        assert here.state("b", "k") == "held"


@pytest.mark.semantics("F-3i")
async def test_tags_of_an_object_that_is_leaving_follow_it_and_nobody_is_asked(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["tags"].get("class") != "secret")
    async with Store() as store, governed(tmp_path, store, policy) as here:
        store.hook(Odd(held=True), "PutObject", times=1)
        await put(here)
        await until(lambda: sent(store) == ["k"])
        assert isinstance(await here.ask("PutObjectTagging", tagging("secret")), Answer)
        store.release()
        await until(lambda: not here.queue.pending()["changes"])
        assert store.count("PutObjectTagging") == 1
        assert [one["tags"] for one in policy.asked] == [{}]


@pytest.mark.semantics("F-3i", "F-3c")
async def test_tags_behind_a_put_that_the_remote_refuses_for_now_are_part_of_it_again_and_asked_about(
    tmp_path: Path,
) -> None:
    policy = Scripted(lambda asked: asked["tags"].get("class") != "secret")
    async with Store() as store, governed(tmp_path, store, policy) as here:
        refused = "<Error><Code>SlowDown</Code></Error>"
        store.hook(Odd(held=True, status=429, body=refused), "PutObject", times=1)
        await put(here)
        await until(lambda: sent(store) == ["k"])
        assert isinstance(await here.ask("PutObjectTagging", tagging("secret")), Answer)
        store.release()
        await until(lambda: here.state("b", "k") == "held")
        assert policy.asked[-1]["tags"] == {"class": "secret"}
        assert (sent(store), store.count("PutObjectTagging")) == (["k"], 0)


@pytest.mark.semantics("Q-7g", "F-3j")
@pytest.mark.parametrize("limits", [{"max_files": 7}, {"max_size": 65536}], ids=str)
async def test_what_the_policy_holds_leaves_half_of_the_queue_to_what_it_lets_leave(
    limits: dict[str, Any], tmp_path: Path
) -> None:
    policy = Scripted(lambda asked: not asked["key"].startswith("held"))
    async with Store() as store, governed(tmp_path, store, policy, wait=0.0, **limits) as here:
        for number in range(3):
            await put(here, f"held {number}", bytes(10_000))
        await until(lambda: here.queue.states()["held"] == 3)
        answer = await here.ask("PutObject", {"Bucket": "b", "Key": "held, too"}, bytes(10_000))
        assert isinstance(answer, S3Error)
        assert (answer.status, answer.code) == (503, "SlowDown")
        assert f"the policy (decision d{len(policy.asked)}) would hold this write, too" in answer.message
        await put(here, "free", bytes(10_000))
        await until(lambda: there(store) == ["free"])
        assert [one["key"] for one in policy.asked].count("free") == 1, "it is not asked about twice"
        policy.hangs = True
        config.reload(here.queue._context.settings, {"S3D_OPA_TIMEOUT": "200ms"})
        answer = await here.ask("PutObject", {"Bucket": "b", "Key": "free, too"}, bytes(10_000))
        assert isinstance(answer, S3Error)
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        await until(lambda: here.queue.pending()["changes"] == 3)


@pytest.mark.semantics("F-3j")
async def test_what_nobody_has_judged_counts_to_the_half_and_is_asked_about_first_beyond_it(tmp_path: Path) -> None:
    policy = Scripted()
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy, max_files=7, wait=0.0) as here:
        for number in range(3):
            await put(here, f"k{number}")
        async with asyncio.TaskGroup() as tasks:
            waits = tasks.create_task(put(here, "k3"))
            await until(lambda: "k3" in {one["key"] for one in policy.asked})
            assert here.queue.pending()["changes"] == 3
            assert not waits.done()
            policy.heal()
        await until(lambda: sorted(there(store)) == ["k0", "k1", "k2", "k3"])


THROUGH: list[tuple[str, str, dict[str, Any], bytes | None, dict[str, str]]] = [
    ("a condition", "PutObject", {}, b"12345", {"if_none_match": "*"}),
    ("an unknown member", "PutObject", {}, b"12345", {"x_amz_unheard_of": "a"}),
    ("a condition on a delete", "DeleteObject", {}, None, {"if_match": '"x"'}),
    ("left out by the filter", "PutObject", {"Key": "out"}, b"12345", {}),
    ("a delete that is left out", "DeleteObject", {"Key": "out"}, None, {}),
    ("an upload that is left out", "CreateMultipartUpload", {"Key": "out"}, None, {}),
    ("larger than the queue", "PutObject", {}, bytes(200_000), {}),
    ("a part of the remote's upload", "UploadPart", {"PartNumber": 1, "UploadId": "there"}, b"12345", {}),
    ("an operation that is never queued", "RenameObject", {"RenameSource": "b/old"}, None, {}),
    ("a copy of what the remote has", "CopyObject", {"CopySource": "b/source", "Key": "out"}, None, {}),
]


@pytest.mark.semantics("F-3d", "Q-11a")
@pytest.mark.parametrize("case", THROUGH, ids=lambda case: case[0])
async def test_what_cannot_be_queued_is_asked_about_before_a_byte_of_it_leaves(
    case: tuple[str, str, dict[str, Any], bytes | None, dict[str, str]], tmp_path: Path
) -> None:
    _, operation, params, data, headers = case
    named = {name: value for name, value in {"Bucket": "b", "Key": "k", **params}.items() if value is not None}
    policy = Scripted(lambda _: False)
    async with Store() as store, governed(tmp_path, store, policy, filter="*, !b/out*", max_size=100_000) as here:
        answer = await here.ask(operation, named, data, **headers)
        assert policy.asked, answer
        before = [one.operation for one in store.seen]
        assert operation not in before
        assert isinstance(answer, S3Error)
        assert (answer.status, answer.code) == (403, "AccessDenied")
        assert "the policy (decision d1) keeps this write back" in answer.message
        policy.says = lambda _: None
        answer = await here.ask(operation, named, data, **headers)
        assert isinstance(answer, S3Error)
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "ServiceUnavailable", "1")
        assert "the policy came to no decision" in answer.message
        assert [one.operation for one in store.seen] == before
        policy.says = lambda _: True
        await here.ask(operation, named, data, **headers)
        assert [one.operation for one in store.seen[len(before) :]][-1] == operation


@pytest.mark.semantics("F-3f")
async def test_with_a_policy_the_first_write_of_a_kind_is_queued(tmp_path: Path) -> None:
    policy = Scripted()
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here)
        await put(here, "tagged", Tagging="a=b")
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "gone"})
        assert sent(store) == []
        policy.heal()
        await until(lambda: not here.queue.pending()["changes"])
        assert sorted(sent(store)) == ["gone", "k", "tagged"]


@pytest.mark.semantics("F-3")
async def test_a_completed_upload_is_asked_about_with_its_size(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked.get("size") == 10)
    async with Store() as store, governed(tmp_path, store, policy) as here:
        named = {"Bucket": "b", "Key": "k"}
        begun = await here.ask("CreateMultipartUpload", named)
        assert isinstance(begun, Answer)
        of_it = {**named, "UploadId": begun.result["UploadId"]}
        part = await here.ask("UploadPart", {**of_it, "PartNumber": 1}, b"1234567890")
        assert isinstance(part, Answer)
        assert policy.asked == []
        parts = {"Parts": [{"PartNumber": 1, "ETag": part.headers["ETag"]}]}
        assert isinstance(await here.ask("CompleteMultipartUpload", {**of_it, "MultipartUpload": parts}), Answer)
        await until(lambda: there(store) == ["k"])
        assert [(one["operation"], one["size"]) for one in policy.asked] == [("put", 10)]


@pytest.mark.semantics("F-3d", "Q-11a")
async def test_an_upload_that_the_policy_keeps_here_does_not_spill(tmp_path: Path) -> None:
    policy = Scripted(lambda _: False)
    async with Store() as store, governed(tmp_path, store, policy, max_size=400_000) as here:
        named = {"Bucket": "b", "Key": "k"}
        begun = await here.ask("CreateMultipartUpload", named)
        assert isinstance(begun, Answer)
        of_it = {**named, "UploadId": begun.result["UploadId"]}
        part = await here.ask("UploadPart", {**of_it, "PartNumber": 1}, bytes(300_000))
        assert isinstance(part, Answer)
        # More than half of the queue: it would spill.
        assert [one["operation"] for one in policy.asked] == ["put"]
        assert sent(store) == []
        policy.says = lambda _: True
        await here.ask("UploadPart", {**of_it, "PartNumber": 2}, b"12345")
        await until(lambda: sent(store) == ["k"])


@pytest.mark.semantics("F-3d", "Q-11a")
async def test_deletes_that_cannot_be_queued_are_refused_key_by_key(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["key"] == "out1")
    delete = {"Objects": [{"Key": "out1"}, {"Key": "out2"}]}
    async with Store() as store, governed(tmp_path, store, policy, filter="!b/out*") as here:
        answer = await here.ask("DeleteObjects", {"Bucket": "b", "Delete": delete})
        assert isinstance(answer, Answer)
        assert [(one["Key"], one["Code"]) for one in answer.result["Errors"]] == [
            ("out1", "AccessDenied"),
            ("out2", "AccessDenied"),
        ]
        assert "DeleteObjects" not in [one.operation for one in store.seen]
