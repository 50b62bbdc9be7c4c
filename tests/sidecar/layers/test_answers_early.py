"""An answer that comes before the body has gone is an answer: to a client, and to the judge of a push (SEMANTICS Q-3a).

The store answers after 64 KiB and closes, politely or by a reset, while the rest is being sent (RFC 9112, 9.5). Whether
the answer or the broken connection is noticed first is a race, so each is run many times, and the store has a thread of
its own.
"""

import contextlib
import socket
from pathlib import Path
from typing import cast

import pytest

from s3d.errors import S3Error
from tests.callers import Answer, ask
from tests.daemons import StartDaemon
from tests.fakes.contents import Bucket, Version, md5
from tests.gateways import gateway
from tests.processes import Program, free_port
from tests.remotes import Remote
from tests.sidecar.layers.queue.push.odd_answers import XML, s3_error
from tests.stores import Odd, Store, until

pytestmark = pytest.mark.usefixtures("quick")

ROUNDS = 20
READ = 64 << 10
SIZES = {"1.2 MB": 1_200_000, "20 MB": 20_000_000}
REFUSALS = {
    f"{status} {code}": (status, code)
    for status, code in (
        (412, "PreconditionFailed"),
        (413, "EntityTooLarge"),
        (403, "AccessDenied"),
        (507, "QuotaExceeded"),
    )
}
ENDS = {"closes": False, "resets": True}


def early(status: int, code: str, *, reset: bool, after: int = READ) -> Odd:
    """A refusal after some of the body."""
    return Odd(status, XML, s3_error(status, code).body, early=after, reset=reset)


@pytest.mark.semantics("Q-3a", "R-5", "R-7")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("size", SIZES)
async def test_a_client_gets_the_stores_early_answer(size: str, refusal: str, end: str, tmp_path: Path) -> None:
    told = []
    store = Store()
    store.fake.buckets["b"] = Bucket("b", 0.0, versioning="Enabled")
    with store.serving():
        async with gateway(tmp_path, store) as here:
            store.hook(early(*REFUSALS[refusal], reset=ENDS[end]), "PutObject", key="k")
            for _ in range(ROUNDS):
                answer = await here.ask(
                    "PutObject", {"Bucket": "b", "Key": "k", "IfNoneMatch": "*"}, bytes(SIZES[size])
                )
                told.append(f"{answer.status} {answer.code}" if isinstance(answer, S3Error) else "a success")
    assert told == [refusal] * ROUNDS


@pytest.mark.semantics("Q-3a", "Q-8")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("size", SIZES)
async def test_a_layer_gets_the_stores_early_answer(size: str, refusal: str, end: str, tmp_path: Path) -> None:
    told = []
    store = Store()
    store.fake.buckets["b"] = Bucket("b", 0.0)
    with store.serving():
        async with gateway(tmp_path, store) as here:
            store.hook(early(*REFUSALS[refusal], reset=ENDS[end]), "PutObject", key="k")
            for _ in range(ROUNDS):
                try:
                    await ask(here.far, "PutObject", {"Bucket": "b", "Key": "k"}, bytes(SIZES[size]), typed=True)
                except S3Error as error:
                    told.append(f"{error.status} {error.code}")
                else:
                    told.append("a success")
    assert told == [refusal] * ROUNDS


@pytest.mark.semantics("Q-3a", "Q-8")
@pytest.mark.parametrize("end", ENDS)
async def test_a_push_is_judged_by_the_stores_early_answer(end: str, tmp_path: Path) -> None:
    buckets = tuple(f"bucket-{number}" for number in range(ROUNDS))
    store = Store()
    with store.serving():
        async with gateway(tmp_path, store, buckets) as here:
            for bucket in buckets:
                store.fake.buckets[bucket] = Bucket(bucket, 0.0)
                store.hook(early(413, "EntityTooLarge", reset=ENDS[end]), "PutObject", bucket=bucket, times=1)
                answer = await here.ask("PutObject", {"Bucket": bucket, "Key": "k"}, bytes(SIZES["1.2 MB"]))
                assert isinstance(answer, Answer), answer
            await until(lambda: all(here.state(bucket, "k") in ("parked", "delivered") for bucket in buckets))
            assert {bucket: here.state(bucket, "k") for bucket in buckets} == dict.fromkeys(buckets, "parked")


@pytest.mark.semantics("Q-3a")
async def test_a_refusal_before_the_body_is_an_answer_too(tmp_path: Path) -> None:
    """Of a body that waits for 100 Continue nothing is sent."""
    async with Store() as store, gateway(tmp_path, store) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0)
        store.hook(early(412, "PreconditionFailed", reset=False, after=0), "PutObject")
        for _ in range(ROUNDS):
            with pytest.raises(S3Error, match="PreconditionFailed"):
                await ask(here.far, "PutObject", {"Bucket": "b", "Key": "k"}, bytes(SIZES["1.2 MB"]))


# At the door: a connection that is closed after a refusal says so.


def as_remote(store: Store) -> Remote:
    """The store as a daemon's remote; it has no program of its own."""
    return Remote("store", store.endpoint, "Dummy", "Dummy", cast("Program", None))


@pytest.mark.semantics("R-5", "A-6")
@pytest.mark.parametrize(
    ("after", "sent"),
    [
        pytest.param(0, 600_000, id="at once, part of the body is sent"),
        pytest.param(0, 1_200_000, id="at once, all of the body is sent"),
        pytest.param(READ, 600_000, id="early, part of the body is sent"),
        pytest.param(READ, 1_200_000, id="early, all of the body is sent"),
        pytest.param(None, 1_200_000, id="after the body"),
    ],
)
def test_a_connection_that_is_closed_after_a_refusal_says_so(
    after: int | None, sent: int, start_daemon: StartDaemon
) -> None:
    store = Store()
    store.port = free_port()
    store.fake.buckets["b"] = Bucket("b", 0.0)
    store.fake.buckets["b"].add(Version("k", "null", b"there", md5(b"there")))
    with store.serving():
        if after is not None:
            store.hook(early(412, "PreconditionFailed", reset=False, after=after), "PutObject")
        daemon = start_daemon(as_remote(store), S3D_BUCKETS="b")
        head = (
            f"PUT /b/k HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\nContent-Length: {SIZES['1.2 MB']}\r\n"
            "If-None-Match: *\r\n\r\n"
        )
        closed = []
        for _ in range(ROUNDS):
            with socket.create_connection(("127.0.0.1", daemon.port), timeout=30) as connection:
                status, said = exchange(connection, head.encode() + bytes(sent))
                closed.append((status, "close" in said, goes_on(connection) if sent == SIZES["1.2 MB"] else False))
    assert [status for status, *_ in closed] == [412] * ROUNDS
    # Either it says that it ends, or it goes on.
    assert [says_so != goes for _, says_so, goes in closed] == [True] * ROUNDS


def exchange(connection: socket.socket, data: bytes) -> tuple[int, str]:
    """Send a request or the beginning of one: the status of the answer and its header `Connection`."""
    with contextlib.suppress(OSError):  # what was answered meanwhile is read below
        connection.sendall(data)
    with connection.makefile("rb") as answer:
        status = int(answer.readline().split()[1])
        headers = {}
        while line := answer.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip().lower()
        answer.read(int(headers.get("content-length", "0")))
    return status, headers.get("connection", "")


def goes_on(connection: socket.socket) -> bool:
    """Whether a connection takes another request."""
    try:
        return exchange(connection, b"GET /b/k HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")[0] == 200
    except (OSError, IndexError):
        return False
