"""Every S3 of the tree keeps one contract, and a layer's own calls are calls as any other."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from s3d.api import S3, BytesBody, Call, Reply, Wire, read_all
from s3d.client import Answer, Client, request
from s3d.errors import NotS3, S3Error, Unavailable
from s3d.layers.health import Health
from s3d.layers.judge import Judge
from s3d.layers.queue import Queue, open_queue, without_queue
from s3d.layers.queue.multipart import assembly
from s3d.layers.queue.push import confirm, conflicts, late_writes
from s3d.layers.queue.rows import lookups
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.wiring import Contexts
from s3d.metrics import Metrics
from s3d.protocol import encode
from s3d.settings import Gateway, Remote, Settings, WriteQueue
from tests.callers import ask, door_call
from tests.contracts import Far, RemoteCheck, remote_contract
from tests.fakes.fake import Fake
from tests.fakes.flaky import Flaky, Journal, page
from tests.gateways import BALLAST
from tests.queues import BUCKET, at_work, until

KEY = {"Bucket": BUCKET, "Key": "k"}
LARGE = bytes(300_000)
TAGS = {"TagSet": [{"Key": "a", "Value": "1"}]}


async def probe() -> None:
    """The remote is there."""


class Recorder:
    """An S3 that notes the calls which reach what is behind it."""

    def __init__(self, inner: S3) -> None:
        self._inner = inner
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        return await self._inner(call)

    def named(self, operation: str) -> list[Call]:
        """The calls of one operation."""
        return [call for call in self.calls if call.operation == operation]


class Remembering:
    """A layer that answers a HEAD from memory, as a cache may, unless the call wants a fresh answer."""

    def __init__(self, inner: S3) -> None:
        self._inner = inner
        self._known: dict[str, Reply] = {}

    async def __call__(self, call: Call) -> Reply:
        if call.operation != "HeadObject":
            return await self._inner(call)
        known = self._known.get(call.key)
        if known is None or call.fresh:
            known = self._known[call.key] = await self._inner(call)
            return known
        return replace(known, headers=CIMultiDict(known.headers), source="cache")


class Opened:
    """A queue at rest in front of an S3 over a fake, with its bucket there and vouched for."""

    def __init__(self, queue: Queue, fake: Fake, inner: Recorder) -> None:
        self.queue = queue
        self.fake = fake
        self.inner = inner
        self.client = Client(queue)

    async def put(self, data: bytes = b"x", key: str = "k") -> None:
        await ask(self.queue, "PutObject", {"Bucket": BUCKET, "Key": key}, data)

    async def put_there(self, data: bytes, key: str = "k") -> str:
        """Put an object behind the queue's back; its ETag."""
        return (await ask(self.fake, "PutObject", {"Bucket": BUCKET, "Key": key}, data)).etag

    def change(self) -> Change:
        """The newest change of the key."""
        change = lookups.visible(self.queue._context.db, BUCKET, "k")
        assert change is not None
        return change


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    inner = Recorder(Remembering(fake))
    settings = Settings(
        gateway=Gateway(local_dir=tmp_path, barrier_timeout=0.2),
        remote=Remote(buckets=(BUCKET,)),
        write_queue=WriteQueue(dir=tmp_path / "queue", conflict="Park", conflict_check_after=0, ballast=BALLAST),
    )
    health = Health(5.0, 30.0, probe)
    async with open_queue(settings, inner, health, "http://remote.test", "eu", Metrics()) as queue:
        yield Opened(queue, fake, inner)


@pytest.fixture(params=["judge", "without a queue", "flaky", "queue", "queue, of a bucket vouched for"])
async def s3(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[S3]:
    """Every layer over the fake."""
    fake = Fake()
    match request.param:
        case "judge":
            yield Judge(fake)
        case "without a queue":
            yield without_queue(fake)
        case "flaky":
            yield Flaky(fake, Health(5.0, 30.0, probe), Journal())
        case _:
            async with at_work(tmp_path, fake) as queue:
                yield queue


@remote_contract
async def test_every_s3_keeps_the_contract(
    s3: S3, check: RemoteCheck, request: pytest.FixtureRequest, *, typed: bool
) -> None:
    vouched = "vouched" in request.node.callspec.params["s3"]
    bucket = BUCKET if vouched else f"contract-{secrets.token_hex(6)}"
    await ask(s3, "CreateBucket", {"Bucket": bucket})
    await check(Far(s3, typed), bucket)


# What the queue does for a client it does for a layer.


@pytest.mark.semantics("Q-19")
async def test_tags_of_a_pending_put_are_queued_for_a_layer_too(opened: Opened) -> None:
    await opened.put()
    answer = await opened.client.ask("PutObjectTagging", {**KEY, "Tagging": TAGS})
    assert answer.headers["x-s3d-durability"] == "local"
    assert (await opened.client.ask("GetObjectTagging", KEY)).result["TagSet"] == TAGS["TagSet"]
    assert not opened.inner.named("PutObjectTagging")
    answer = await opened.client.ask("DeleteObjectTagging", KEY)
    assert answer.headers["x-s3d-durability"] == "local"
    assert not opened.inner.named("DeleteObjectTagging")


@pytest.mark.semantics("R-3")
async def test_a_layers_read_of_a_key_takes_no_turn(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    monkeypatch.setattr(type(opened.queue._context.turns), "turn", lambda *arguments: taken.append(arguments))
    with pytest.raises(S3Error) as error:
        await opened.client.ask("GetObjectAcl", KEY)
    assert error.value.status == 501  # by the fake
    assert not taken


@pytest.mark.semantics("D-6")
async def test_a_layer_is_told_where_its_write_is(opened: Opened) -> None:
    put = await opened.client.ask("PutObject", KEY, BytesBody(b"x"))
    gone = await opened.client.ask("DeleteObject", {**KEY, "Key": "other"})
    assert (put.headers["x-s3d-durability"], gone.headers["x-s3d-durability"]) == ("local", "local")
    await opened.put_there(b"x", "there")
    through = await opened.client.ask("PutObject", {**KEY, "Key": "there", "IfMatch": "*"}, BytesBody(b"y"))
    assert through.headers["x-s3d-durability"] == "remote"


@pytest.mark.semantics("Q-5")
async def test_a_layers_body_is_held_to_its_digest(opened: Opened) -> None:
    with pytest.raises(S3Error, match="BadDigest"):
        await opened.client.ask("PutObject", {**KEY, "ChecksumCRC32": "AAAAAA=="}, BytesBody(b"x"))
    with pytest.raises(S3Error, match="NotFound"):
        await opened.client.head_object(BUCKET, "k")


# What an S3 gives back.


@pytest.mark.parametrize(
    ("operation", "params", "status", "code"),
    [
        ("GetObject", {**KEY, "Key": "gone"}, 404, "NoSuchKey"),
        ("GetObject", {**KEY, "Range": "bytes=5-"}, 416, "InvalidRange"),
        ("GetObject", {**KEY, "IfMatch": '"other"'}, 412, "PreconditionFailed"),
        ("GetObjectAcl", KEY, 503, "SlowDown"),
        ("ListParts", {**KEY, "UploadId": "upload", "MaxParts": 1}, 404, "NoSuchUpload"),
    ],
)
async def test_what_the_queue_refuses_is_an_answer(
    opened: Opened, operation: str, params: dict[str, Any], status: int, code: str
) -> None:
    await opened.put()
    await ask(opened.queue, "DeleteObject", {**KEY, "Key": "gone"})
    reply = await opened.queue(door_call(operation, params, None, {}))
    document = await read_all(reply.body, 1 << 20)
    assert (reply.status, f"<Code>{code}</Code>".encode() in document) == (status, True)
    assert reply.headers["Content-Type"] == "application/xml"


async def test_a_form_that_is_refused_without_a_queue_is_an_answer() -> None:
    wire = Wire("POST", f"/{BUCKET}", "", CIMultiDict({"Content-Type": "multipart/form-data"}))
    reply = await without_queue(Fake())(Call("", {"Bucket": BUCKET}, wire, BytesBody(b"no form")))
    assert (reply.status, reply.source) == (400, "queue")


async def test_an_answer_says_who_gave_it(opened: Opened) -> None:
    await opened.put_there(b"there", "there")
    await opened.put()
    assert (await opened.client.head_object(BUCKET, "k")).source == "queue"
    assert (await opened.client.head_object(BUCKET, "there")).source == "remote"
    assert (await opened.client.head_object(BUCKET, "there")).source == "cache"
    assert (await opened.client.head_object(BUCKET, "there", fresh=True)).source == "remote"


async def test_an_error_inside_a_success_is_the_failure_that_it_says() -> None:
    async def store(_: Call) -> Reply:
        document = b"\n <Error><Code>SlowDown</Code><Message>later</Message></Error>"
        return Reply(200, CIMultiDict({"Content-Type": "application/xml"}), BytesBody(document))

    call = request("CopyObject", {**KEY, "CopySource": "a/b"})
    reply = await Judge(store)(call)
    assert (reply.status, reply.outcome) == (500, "unknown")
    with pytest.raises(S3Error, match="SlowDown") as error:
        await Client(Judge(store)).send(call)
    assert error.value.unknown


# The typed client.


async def test_a_client_raises_what_is_no_success_but_for_what_its_caller_allows() -> None:
    client = Client(Fake())
    await client.ask("CreateBucket", {"Bucket": BUCKET})
    etag = (await client.ask("PutObject", KEY, BytesBody(b"x"))).headers["ETag"]
    with pytest.raises(S3Error) as error:
        await client.head_object(BUCKET, "k", IfNoneMatch=etag)
    assert error.value.status == 304
    allowed = await client.ask("HeadObject", {**KEY, "IfNoneMatch": etag}, allow=(304,))
    assert (allowed.status, f'"{allowed.etag}"') == (304, etag)
    unmet = await client.ask("PutObject", {**KEY, "IfNoneMatch": "*"}, BytesBody(b"y"), allow=(412,))
    assert unmet.status == 412
    assert (await client.get_object(BUCKET, "k")).etag == allowed.etag


async def test_a_client_takes_no_bare_answer_to_a_head_for_the_stores() -> None:
    """A GET tells, whatever S3 it is asked through."""

    async def store(call: Call) -> Reply:
        return Reply(404) if call.operation == "HeadObject" else page(404)

    with pytest.raises(NotS3):
        await Client(Judge(store)).head_object(BUCKET, "k")


async def test_a_client_closes_the_body_that_it_sends() -> None:
    class Kept(BytesBody):
        closed = False

        async def aclose(self) -> None:
            type(self).closed = True

    async def away(_: Call) -> Reply:
        raise Unavailable

    with pytest.raises(Unavailable):
        await Client(away).ask("PutObject", KEY, Kept(b"x"))
    assert Kept.closed


async def test_a_client_says_for_whom_it_asks() -> None:
    recorder = Recorder(Fake())
    client = Client(recorder, "sync").acting("somebody", "trace")
    with pytest.raises(S3Error):
        await client.head_bucket(BUCKET, fresh=True)
    call = recorder.calls[0]
    assert (call.origin, call.identity, call.trace, call.fresh) == ("sync", "somebody", "trace", True)


# What the queue asks for itself.

Look = Callable[[Contexts, Change], Awaitable[object]]
LOOKS: dict[str, Look] = {
    "is there somebody else's object (Q-18)": lambda to, change: conflicts.look(to.pusher.conflicts, change),
    "is the bucket there (Q-18)": lambda to, change: conflicts.check_bucket(to.pusher.conflicts, change),
    "did an older attempt arrive (Q-3)": lambda to, change: late_writes.etag_of(to.late_writes, change),
    "has a Complete made the object (Q-3)": lambda to, change: assembly.is_there(to.upkeep.assembly, change),
    "which object is there (Q-22)": lambda to, change: confirm.look(to.pusher.confirm, change, Answer(200)),
    "which bytes are there (Q-22)": lambda to, change: confirm.is_same(to.pusher.confirm, change, "x"),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
async def test_a_look_of_the_queue_is_answered_by_no_memory(opened: Opened, look: Look) -> None:
    await opened.put_there(b"before")
    await opened.client.head_object(BUCKET, "k")  # from now on it is remembered
    await opened.put()
    change = opened.change()._replace(identity="writer")
    opened.inner.calls.clear()
    with contextlib.suppress(S3Error):
        await look(opened.queue._contexts, change)
    assert opened.inner.calls
    assert all(call.fresh and call.origin == "queue" and call.identity == "writer" for call in opened.inner.calls)


@pytest.mark.semantics("Q-18")
async def test_a_conflict_is_seen_through_a_layer_that_remembers(opened: Opened) -> None:
    """The remote honours no condition that we know of, so a HEAD must tell."""
    await opened.put_there(b"before")
    await opened.client.head_object(BUCKET, "k")
    await opened.put(b"ours")
    foreign = await opened.put_there(b"foreign")
    change = opened.change()
    with pytest.raises(conflicts.Conflict, match=foreign):
        await conflicts.compare(opened.queue._contexts.pusher.conflicts, change)


@pytest.mark.semantics("Q-18")
async def test_an_answer_from_memory_teaches_no_etag(opened: Opened) -> None:
    seen_etags = opened.queue._context.facts.seen_etags
    first = await opened.put_there(b"first")
    await opened.client.head_object(BUCKET, "k")
    assert seen_etags.of(BUCKET, "k") == first
    seen_etags.forget(BUCKET, "k")
    assert (await opened.client.head_object(BUCKET, "k")).etag == first
    assert seen_etags.of(BUCKET, "k") is None


@pytest.mark.semantics("R-9")
async def test_a_fresh_answer_is_not_given_from_memory_while_the_remote_is_away(tmp_path: Path) -> None:
    async def away(_: Call) -> Reply:
        raise Unavailable

    settings = Settings(gateway=Gateway(local_dir=tmp_path), remote=Remote(buckets=(BUCKET,)))
    async with open_queue(settings, away, Health(5.0, 30.0, probe), "http://remote.test", "eu", Metrics()) as queue:
        assert (await Client(queue).head_bucket(BUCKET)).source == "queue"
        with pytest.raises(Unavailable):
            await Client(queue).head_bucket(BUCKET, fresh=True)


async def test_what_the_queue_asks_for_a_request_belongs_to_it(opened: Opened) -> None:
    await opened.put_there(LARGE, "source")
    upload = (await ask(opened.queue, "CreateMultipartUpload", KEY)).result["UploadId"]
    copy = {**KEY, "UploadId": upload, "PartNumber": 1, "CopySource": f"{BUCKET}/source"}
    opened.inner.calls.clear()
    reply = await opened.queue(replace(door_call("UploadPartCopy", copy, None, {}), trace="of the client"))
    assert reply.status == 200
    asked = [call for call in opened.inner.calls if call.operation in ("HeadObject", "GetObject")]
    assert len(asked) == 2
    assert all((call.trace, call.origin) == ("of the client", "queue") for call in asked)


async def test_a_push_is_the_queues_own_call_for_the_writer(tmp_path: Path) -> None:
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    recorder = Recorder(fake)
    async with at_work(tmp_path, recorder) as queue:
        # The first of them asks the remote whether the identity may write at all.
        for _ in range(2):
            call = replace(door_call("PutObject", KEY, b"x", {}), identity="writer", trace="of the client")
            assert (await queue(call)).status == 200
        await until(lambda: not queue.pending()["changes"])
    _, pushed = recorder.named("PutObject")
    assert (pushed.origin, pushed.identity, pushed.trace) == ("queue", "writer", "")


def test_the_document_of_an_error_names_its_request_at_the_door() -> None:
    call = door_call("GetObject", KEY, None, {})
    reply = encode.refusal(call, S3Error("SlowDown", "later", status=503))
    assert isinstance(reply.body, BytesBody)
    named = encode.identified(reply.body.data, request_id="1", host_id="2", resource="/k")
    assert named.endswith(b"<Resource>/k</Resource><RequestId>1</RequestId><HostId>2</HostId></Error>")


def test_the_answer_to_a_head_that_is_refused_has_no_document() -> None:
    reply = encode.refusal(door_call("HeadObject", KEY, None, {}), S3Error("NoSuchKey", status=404))
    assert (reply.status, reply.body) == (404, None)
