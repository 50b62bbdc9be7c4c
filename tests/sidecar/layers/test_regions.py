"""What a remote says of the way to it: that a bucket is in another region, or that it knows no `Expect`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.callers import Answer
from tests.clients import code_of
from tests.daemons import StartDaemon, drained, eventually
from tests.fakes.contents import Bucket
from tests.gateways import gateway
from tests.processes import free_port, running, start, wait_for_http
from tests.remotes import Remote, client, find_program
from tests.sidecar.layers.queue.push.odd_answers import XML, s3_error
from tests.stores import Odd, Store, until

LARGE = bytes(1 << 20) + b"and some more"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A MinIO of another region, which it says with each refusal."""
    directory, port, console = tmp_path_factory.mktemp("minio"), free_port(), free_port()
    command: list[str | Path] = [
        find_program("minio"),
        *("server", "--quiet", "--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"),
        directory / "data",
    ]
    account = {"MINIO_ROOT_USER": "miniouser", "MINIO_ROOT_PASSWORD": "miniosecret", "MINIO_UPDATE": "off"}
    with running(start(command, directory / "log", {**account, "MINIO_SITE_REGION": "fr-par"})) as program:
        wait_for_http(program, f"http://127.0.0.1:{port}", status=403)
        yield Remote("minio", f"http://127.0.0.1:{port}", "miniouser", "miniosecret", program)


@pytest.mark.semantics("R-10")
def test_a_region_is_learnt_from_the_first_refusal_also_that_of_a_head(
    elsewhere: Remote, start_daemon: StartDaemon
) -> None:
    there = client(elsewhere.endpoint, elsewhere.access_key, elsewhere.secret_key, region_name="fr-par")
    for name in ("by-put", "by-head", "by-head-of-object"):
        there.create_bucket(Bucket=name)
        there.put_object(Bucket=name, Key="k", Body=b"there")
    daemon = start_daemon(elsewhere)
    s3 = daemon.client()
    # The first request for a bucket is the HEAD of its look-up, or the client's own.
    s3.put_object(Bucket="by-put", Key="new", Body=b"x")
    assert code_of(s3.head_bucket, Bucket="by-head") == ""
    assert s3.head_object(Bucket="by-head-of-object", Key="k")["ContentLength"] == 5
    eventually(lambda: drained(daemon))
    assert there.get_object(Bucket="by-put", Key="new")["Body"].read() == b"x"


@pytest.mark.semantics("R-10")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("operation", ["HeadObject", "GetObject"])
async def test_requests_that_are_under_way_together_each_learn_the_region(operation: str, tmp_path: Path) -> None:
    store = Store()
    store.fake.buckets["b"] = Bucket("b", 0.0)
    async with store, gateway(tmp_path, store, ("b",)) as here:
        await here.ask("PutObject", {"Bucket": "b", "Key": "k"}, b"there")
        await until(lambda: here.state("b", "k") == "delivered", what="a delivery")
        elsewhere = Odd(400, {"x-amz-bucket-region": "fr-par"}, held=True)
        hook = store.hook(elsewhere, operation, key="k", times=2)
        asked = [asyncio.ensure_future(here.ask(operation, {"Bucket": "b", "Key": "k"})) for _ in range(2)]
        await until(lambda: hook.hits == 2, what="two requests signed for the first region")
        store.release()
        assert [answer.status for answer in await asyncio.gather(*asked)] == [200, 200]


@pytest.mark.semantics("R-10", "Q-3a")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("queued", [True, False], ids=["pushed", "written through"])
async def test_a_store_that_knows_no_expect_gets_the_body_without(queued: bool, tmp_path: Path) -> None:
    store = Store()
    store.fake.buckets["b"] = Bucket("b", 0.0)
    condition = {} if queued else {"IfNoneMatch": "*"}
    async with store, gateway(tmp_path, store, ("b",)) as here:
        hook = store.hook(Odd(417, XML, s3_error(417, "ExpectationFailed").body, early=0), header="Expect")
        for key in ("one", "two"):
            answer = await here.ask("PutObject", {"Bucket": "b", "Key": key, **condition}, LARGE)
            assert isinstance(answer, Answer), answer
        await until(lambda: {here.state("b", key) for key in ("one", "two")} == {"delivered"}, what="a delivery")
        assert store.data("b", "one") == store.data("b", "two") == LARGE
        assert hook.hits in (1, 2), "what is under way at the same time finds out by itself"
