"""What kopf tells of gateways and pods, whether it still tells, and that it writes nothing."""

import asyncio
import importlib.metadata
import logging
import time
from typing import Any

import kopf
import pytest

from s3d_operator import observed, reconcile
from s3d_operator.access import Access
from s3d_operator.kube import Kube
from s3d_operator.names import GROUP
from s3d_operator.observed import Liveness, Observed, configure
from s3d_operator.reconcile import Reconciler
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually
from tests.operator.goldens import IMAGE
from tests.operator.kopfs import watching
from tests.operator.rounds import NOW, PODS, events, pods_door, put_gateway, put_pod, reconciler, status
from tests.operator.test_pods import injected
from tests.processes import free_port, http_status

__all__ = ["pods_door", "reconciler"]


def raw_of(uid: str, version: str = "7") -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": f"name-of-{uid}", "uid": uid, "resourceVersion": version}}


@pytest.mark.checklist(44)
def test_it_is_alive_only_while_rounds_end_and_kopf_tells_what_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    pods: Observed[Any] = Observed(lambda raw: raw)
    liveness = Liveness({"pods": pods}, round_at=now, reached_at=now)
    assert liveness.problems() == []
    pods.compare([raw_of("u")], [])
    monkeypatch.setattr(time, "monotonic", lambda: now + observed.SILENCE_SECONDS + 1)
    assert liveness.problems() == ["no round has ended for 300 s"]
    liveness.round_at = liveness.reached_at = time.monotonic()
    assert liveness.problems() == ["the watch of the pods is silent for 300 s"]
    pods.note("MODIFIED", raw_of("u"))
    pods.compare([raw_of("u")], ["u"])
    assert liveness.problems() == []


def test_the_picture_of_the_pods_is_complete_when_kopf_has_told_of_all_that_are_listed() -> None:
    pods: Observed[Any] = Observed(lambda raw: raw)
    pods.note(None, raw_of("one"))
    pods.compare([raw_of("one"), raw_of("two")], ["one"])
    assert not pods.is_complete
    pods.note(None, raw_of("two", "6"))
    pods.compare([raw_of("one"), raw_of("two")], ["one", "two"])
    assert pods.is_complete, "an older version of a pod is a pod that is known"
    assert pods.untold_since is not None, "and a newer one that is not reported is one that is missed"


def test_a_pod_that_kopf_tells_of_after_the_list_was_asked_for_is_there_and_one_that_is_not_listed_has_gone() -> None:
    gone: list[Any] = []
    pods: Observed[Any] = Observed(lambda raw: raw["metadata"]["uid"], gone.append)
    pods.note(None, raw_of("old"))
    before = [*pods.objects]
    pods.note("ADDED", raw_of("new"))
    pods.compare([], before)
    assert [*pods.objects] == ["new"]
    assert gone == ["old"]


async def test_a_pod_that_went_while_no_watch_saw_it_is_found_by_the_next_comparison(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_gateway(api)
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    # As a deletion in the gap between two watches whose history the server has forgotten.
    api.objects.pop(f"{PODS}/shop-1")
    monkeypatch.setattr(reconcile, "COMPARE_SECONDS", 0)
    for _ in range(2):
        await reconciler.round(NOW)
    assert status(api)["pods"]["injected"] == 0
    assert status(api)["lost"]["changes"] == 3
    assert {reason for _, reason, _ in events(api)} == {"QueueLost"}


@pytest.mark.checklist(44)
@pytest.mark.parametrize(("silence", "answer"), [(0, 200), (observed.SILENCE_SECONDS + 1, 500)])
async def test_kopf_tells_the_probe_whether_the_reconciler_is_alive(client: Kube, silence: int, answer: int) -> None:
    made = Reconciler(client, IMAGE)
    made.liveness.round_at -= silence
    url = f"http://127.0.0.1:{free_port()}/healthz"
    async with watching(made, liveness_endpoint=url), asyncio.timeout(60):
        while (said := await asyncio.to_thread(http_status, url)) is None:
            continue
    assert said == answer


@pytest.mark.checklist(26)
@pytest.mark.checklist(45)
def test_kopf_is_asked_for_events_alone_so_that_it_writes_nothing(client: Kube) -> None:
    """A handler of changes would keep annotations on gateways, one of deletions or a timer a finalizer."""

    async def find() -> Access:
        return client.access

    handlers = Reconciler(client, IMAGE).handlers(find)
    assert handlers._changing.get_all_handlers() == []
    assert handlers._spawning.get_all_handlers() == []
    assert len(handlers._watching.get_all_handlers()) == 3


@pytest.mark.checklist(43)
def test_kopf_is_recent_and_its_watches_end_and_its_notes_are_under_our_name() -> None:
    settings = kopf.OperatorSettings()
    configure(settings=settings)
    for storage in (settings.persistence.diffbase_storage, settings.persistence.progress_storage):
        assert isinstance(storage, kopf.AnnotationsDiffBaseStorage | kopf.AnnotationsProgressStorage)
        assert storage.prefix == GROUP
    assert settings.posting.loggers is False
    for chatty in ("kopf.objects", "kopf.activities.probe", "aiohttp.access"):
        assert not logging.getLogger(chatty).isEnabledFor(logging.INFO), "lines for each status and for each probe"
    assert settings.watching.server_timeout
    assert tuple(map(int, importlib.metadata.version("kopf").split(".")[:3])) >= (1, 44, 1)
