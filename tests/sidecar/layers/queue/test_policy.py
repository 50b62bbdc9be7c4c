"""A policy that is asked what may leave (F-3): after the acknowledgement and before the claim. Nobody waits for it."""

import asyncio
from pathlib import Path

import pytest

from s3d import config
from s3d.errors import S3Error
from s3d.layers.queue import asking
from s3d.settings import Opa
from tests.gateways import Gateway, quick
from tests.policies import Scripted
from tests.queues import until
from tests.sidecar.layers.queue.governing import LONG, governed, put, sent, soon
from tests.stores import Store, there

__all__ = ["quick", "soon"]

pytestmark = pytest.mark.usefixtures("quick")

REST = asking.RETRY_INTERVAL
"""As it is outside of these tests."""


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
    monkeypatch.setattr(asking, "RETRY_INTERVAL", LONG)
    monkeypatch.setattr(asking, "HOLD_PAUSE", LONG)
    policy = Scripted()
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here, "asked")
        await until(lambda: len(policy.asked) == 1)
        for number in range(5 * asking.MAX_HELD_AT_ONCE):
            await put(here, f"k{number:03}")
        policy.hang_up()
        await until(lambda: here.queue.states()["held"] > 1)
        assert here.queue.states()["held"] == 1 + asking.MAX_HELD_AT_ONCE
        assert here.queue.states()["waiting"] == 4 * asking.MAX_HELD_AT_ONCE
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
        for number in range(asking.MAX_BATCH * 2):
            await put(here, f"odd{number}")
        await put(here, "even")
        await until(lambda: there(store) == ["even"])
        await until(lambda: here.queue.states()["held"] == asking.MAX_BATCH * 2)


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
    monkeypatch.setattr(asking, "DENIED_INTERVAL", 0.05)
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
